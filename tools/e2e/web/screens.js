// The screenshots of README and docs, from the running demo: `tools/e2e/web.sh --screens`.

import { mkdir, stat, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { close, onPage, shows } from "./harness.js";

const FOLDER = fileURLToPath(new URL("../../../docs/web/", import.meta.url));
/** The maximum size of a screenshot, in bytes. */
const LARGEST = 300_000;

/**
 * Takes a screenshot of the visible part of the dashboard, or of one element.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} name
 * @param {string} [selector]
 */
async function picture(page, name, selector) {
  const session = await page.context().newCDPSession(page);
  /** @type {{x: number, y: number, width: number, height: number, scale: number} | undefined} */
  let clip;
  if (selector) {
    const box = await page.locator(selector).boundingBox();
    if (!box) throw new Error(`${selector} is not visible`);
    const top = await page.evaluate(() => scrollY);
    // Up to the end of its content: a panel is as high as its neighbour.
    const end = await page.locator(`${selector} .sums`).boundingBox();
    const height = end ? end.y + end.height + 20 - box.y : box.height;
    clip = { x: box.x, y: box.y + top, width: box.width, height, scale: 1 };
  }
  const { data } = await session.send("Page.captureScreenshot", {
    format: "webp",
    quality: 86,
    ...(clip ? { clip } : {}),
  });
  const file = `${FOLDER}${name}.webp`;
  await writeFile(file, Buffer.from(data, "base64"));
  const { size } = await stat(file);
  if (size > LARGEST) throw new Error(`${name} has ${size} bytes`);
  console.log(`${name}: ${Math.round(size / 1000)} kB`);
}

/** @param {import("playwright-core").Page} page */
async function top(page) {
  await page.evaluate(() => scrollTo(0, 0));
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} action
 */
async function inventory(page, action) {
  await page.locator("#break-components button", { hasText: "inventory-service" }).click();
  await page.locator("#break-actions button", { hasText: action }).click();
  await page.waitForFunction(() => (document.querySelector("#break-outcome")?.textContent ?? "…") !== "…");
}

await mkdir(FOLDER, { recursive: true });
const wide = { viewport: { width: 1440, height: 960 }, colorScheme: /** @type {const} */ ("dark") };

await onPage(wide, async (page) => {
  await page.locator("#invariants[data-status=pass]").waitFor();
  await page.locator("#guide-go").click();
  await shows(page, "confirmed");
  await top(page);
  await page.waitForTimeout(700);
  await picture(page, "quiet");

  await page.locator("#burst-number").fill("1200");
  await page.locator("#burst-go").click();
  await page.locator("#map-stage.rates").waitFor();
  await page.waitForTimeout(4000);
  await top(page);
  await picture(page, "load");
  await page.locator("#place-outcome", { hasText: "orders accepted" }).waitFor({ timeout: 120_000 });
  await page.locator("#map-stage:not(.rates)").waitFor({ timeout: 60_000 });
  await page.locator("#invariants[data-status=pass]").waitFor({ timeout: 60_000 });

  await inventory(page, "Kill");
  await page.locator("#place-one").click();
  await shows(page, "placed");
  for (let more = 0; more < 5; more += 1) {
    await page.locator("#place-one").click();
    await page.waitForTimeout(400);
  }
  await top(page);
  await page.waitForTimeout(2500);
  await picture(page, "killed");

  await inventory(page, "Start");
  await shows(page, "confirmed", 60);
  await page.locator("#invariants[data-status=pass]").waitFor({ timeout: 60_000 });
  await top(page);
  await page.waitForTimeout(1200);
  await picture(page, "recovered");
});

await onPage({ ...wide, colorScheme: "light" }, async (page) => {
  await page.locator("#redeliver-number").fill("60");
  await page.locator("#place-limit").click();
  await shows(page, "cancelled");
  await page.locator("#redeliver-form button").click();
  await page.locator("#order-diagram .badge.again").first().waitFor({ timeout: 20_000 });
  await page.locator("#order").scrollIntoViewIfNeeded();
  await page.mouse.move(0, 0);
  await page.waitForTimeout(500);
  await picture(page, "order", "#order");
});

await onPage(
  { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, colorScheme: "dark" },
  async (page) => {
    await page.locator("#guide-go").click();
    await shows(page, "confirmed");
    await page
      .locator("#overview")
      .evaluate((element) => scrollTo(0, element.getBoundingClientRect().top + scrollY - 110));
    await page.waitForTimeout(1200);
    await picture(page, "phone");
  },
);

await close();
