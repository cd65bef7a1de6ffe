// The dashboard in a real browser, on the demo that `tools/e2e/web.sh` has started.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, describe, it } from "node:test";
import { close, eventually, onPage, openOrder, read, shows, SHOP } from "../harness.js";

after(close);

/** @param {import("playwright-core").Page} page */
async function placeOne(page) {
  await page.locator("#place-one").click();
  await page.locator("#place-outcome").getByText("is accepted").waitFor();
  return openOrder(page);
}

/**
 * Injects a fault with the dashboard's own buttons.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} component
 * @param {string} button
 */
async function breakIt(page, component, button) {
  await page.locator("#break-components button", { hasText: component }).click();
  await page.locator("#break-actions button", { hasText: button }).click();
  await page.waitForFunction(() => (document.querySelector("#break-outcome")?.textContent ?? "…") !== "…");
  assert.equal(
    await page.locator("#break-outcome.bad").count(),
    0,
    await page.locator("#break-outcome").innerText(),
  );
}

/** @param {import("playwright-core").Page} page */
function map(page, /** @type {string} */ node, /** @type {string} */ state) {
  return page.locator(`#map-drawing [data-node="${node}"][data-state="${state}"]`).waitFor();
}

/** @param {import("playwright-core").Page} page */
async function axe(page) {
  const source = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(source);
  const violations = await page.evaluate(async () => {
    const { violations } = await /** @type {any} */ (globalThis).axe.run(document, {
      resultTypes: ["violations"],
    });
    return violations
      .filter((/** @type {any} */ one) => ["serious", "critical"].includes(one.impact))
      .map(
        (/** @type {any} */ one) =>
          `${one.id}: ${one.nodes.map((/** @type {any} */ node) => node.target).join(", ")}`,
      );
  });
  assert.deepEqual(violations, []);
}

describe("the dashboard", { concurrency: false }, () => {
  it("shows a placed order until it is confirmed, and each of its messages", () =>
    onPage({}, async (page) => {
      const id = await placeOne(page);
      await shows(page, "confirmed");
      const published = page.locator("#order-diagram .step");
      await eventually("the diagram is complete", async () => (await published.count()) >= 6);
      const names = await page.locator("#order-diagram .what").allInnerTexts();
      const flow = [
        "order.place",
        "order.placed",
        "inventory.reserved",
        "order.reserved",
        "payment.captured",
        "order.confirmed",
      ];
      assert.deepEqual(names.slice().sort(), flow.slice().sort());
      assert.equal(names[0], "order.place");
      await page.locator(`#orders-list [data-key="${id}"] .pill.confirmed`).waitFor();
      // One message, by keyboard: opened, read, closed, with the focus restored.
      await published.nth(1).focus();
      await page.keyboard.press("Enter");
      await page.locator("#message[open]").waitFor();
      await page.locator("#message-body", { hasText: id }).waitFor();
      assert.match(await page.locator("#message-headers").innerText(), /ce-correlationid/);
      assert.match(await page.locator("#message-command").innerText(), /^nats .*stream get EVENTS \d+$/);
      await page.keyboard.press("Escape");
      await page.locator("#message").waitFor({ state: "hidden" });
      assert.equal(await page.evaluate(() => document.activeElement?.classList.contains("step")), true);
    }));

  it("shows an order that waits for a killed service and continues after its restart, while no invariant fails", () =>
    onPage({}, async (page) => {
      await page.locator("#invariants[data-status=pass]").waitFor();
      let running = true;
      const states = new Set();
      const watching = (async () => {
        while (running) {
          states.add(await page.locator("#invariants").getAttribute("data-status"));
          await new Promise((resolve) => setTimeout(resolve, 150));
        }
      })();
      await breakIt(page, "inventory-service", "Kill");
      await map(page, "inventory-service", "stopped");
      const id = await placeOne(page);
      await shows(page, "placed");
      await page.locator("#order-waits li", { hasText: "inventory-service" }).first().waitFor();
      await page.locator('#map-drawing [data-node="inventory-service"].waiting').waitFor();
      assert.equal((await read(`/orders/${id}`)).status, "placed");
      await breakIt(page, "inventory-service", "Start");
      await shows(page, "confirmed");
      await map(page, "inventory-service", "running");
      await page.locator("#invariants[data-status=pass]").waitFor();
      running = false;
      await watching;
      assert.equal(states.has("fail"), false, [...states].join());
    }));

  it("shows one flow for an order that is sent five times, and four suppressed", () =>
    onPage({}, async (page) => {
      await page.locator("#place-same").click();
      await page
        .locator("#place-outcome", { hasText: "sent 5 times: 4 duplicates ignored by the stream." })
        .waitFor();
      await shows(page, "confirmed");
      await page.locator("#order-diagram .what", { hasText: "order.confirmed" }).waitFor();
      const names = await page.locator("#order-diagram .what").allInnerTexts();
      for (const once of ["order.place", "order.placed", "payment.captured"]) {
        assert.equal(names.filter((name) => name === once).length, 1, once);
      }
      // The diagram shows the four duplicates at the command, and counts them.
      await page
        .locator("#order-diagram .step.command", { hasText: "4 duplicates ignored by the stream" })
        .waitFor();
      await page.locator("#order-diagram .sums", { hasText: "4 duplicates ignored" }).waitFor();
    }));

  it("shows that the gateway is unreachable, and resumes when it is back", () =>
    onPage({}, async (page) => {
      await placeOne(page);
      await shows(page, "confirmed");
      await breakIt(page, "api-gateway", "Kill");
      await page.locator("#status[data-state=unreachable]").waitFor();
      await page.locator("#banner", { hasText: "The gateway is unreachable" }).waitFor();
      await map(page, "api-gateway", "stopped");
      const before = await page.locator("#map-messages > li").first().getAttribute("data-key");
      await breakIt(page, "api-gateway", "Start");
      await page.locator("#status[data-state=live]").waitFor();
      await page.locator("#banner").waitFor({ state: "hidden" });
      await page.locator("#map-stage:not(.disconnected)").waitFor();
      const id = await placeOne(page);
      await shows(page, "confirmed");
      await eventually("the feed has resumed", async () => {
        const first = page.locator("#map-messages > li").first();
        return (
          (await first.getAttribute("data-key")) !== before &&
          (await page.locator("#map-messages", { hasText: id }).count()) === 1
        );
      });
    }));

  it("samples a burst, reports that, and keeps its size", () =>
    onPage({}, async (page) => {
      const nodes = () => page.evaluate(() => document.querySelectorAll("*").length);
      await page.locator("#burst-number").fill("400");
      await page.locator("#burst-go").click();
      await page.locator("#map-stage.rates").waitFor();
      assert.match(
        await page.locator("#map-caption").innerText(),
        /Too many to follow one by one: [\d,.K]+ messages per second/,
      );
      await page.locator("#map-drawing .label.event[visibility=visible]").first().waitFor();
      await page.locator("#place-outcome", { hasText: "400 orders accepted" }).waitFor({ timeout: 90_000 });
      assert.ok((await nodes()) < 1500, `the dashboard has ${await nodes()} elements`);
      await eventually(
        "all queues are drained",
        async () => (await page.locator("#figure-pending").innerText()) === "0",
        60,
      );
      await page.locator("#invariants[data-status=pass]").waitFor();
    }));

  it("restocks, and changes a limit with the version that was read", () =>
    onPage({}, async (page) => {
      const product = () => read("/products/PRODUCT_003");
      const available = async () => (await product()).available;
      // A backordered order would take the new units.
      await eventually("no unit is backordered", async () => (await product()).backordered === 0);
      const before = await available();
      await page.locator('#stock-rows [data-key="PRODUCT_003"] button').click();
      await eventually("the units are available", async () => (await available()) === before + 10);
      await page.locator('#accounts-rows [data-key="CUSTOMER_002"] button').click();
      await page.locator("#limit-amount").fill("12.34");
      await page.keyboard.press("Enter");
      await page.locator("#limit").waitFor({ state: "hidden" });
      await page.locator('#accounts-rows [data-key="CUSTOMER_002"]', { hasText: "€12.34" }).waitFor();
      assert.equal((await read("/accounts/CUSTOMER_002")).creditLimit.amount, 1234);
    }));

  it("has no serious accessibility violation, dark or light, wide or on a phone", async () => {
    /** @type {import("playwright-core").BrowserContextOptions[]} */
    const ways = [
      { colorScheme: "dark" },
      { colorScheme: "light", viewport: { width: 360, height: 740 } },
      { colorScheme: "light", reducedMotion: "reduce" },
    ];
    for (const way of ways) {
      await onPage(way, async (page) => {
        await page.locator("#order-diagram .step").first().waitFor();
        await page.locator("#invariants-list li").first().waitFor();
        await axe(page);
        await page.locator("#order-diagram .step").first().click();
        await page.locator("#message[open] #message-headers th").first().waitFor();
        await axe(page);
      });
    }
  });

  it("fits a phone", () =>
    onPage({ viewport: { width: 360, height: 740 } }, async (page) => {
      await page.locator("#order-diagram .step").first().waitFor();
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.equal(over, 0);
    }));

  it("is usable by keyboard from the beginning", () =>
    onPage({}, async (page) => {
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement?.className), "skip");
      await page.keyboard.press("Enter");
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement?.closest("#guide") !== null), true);
    }));

  it("animates nothing if reduced motion is preferred", () =>
    onPage({ reducedMotion: "reduce" }, async (page) => {
      await placeOne(page);
      await page.locator("#map-messages .what", { hasText: "order.confirmed" }).first().waitFor();
      const drawn = await page.evaluate(() => {
        const canvas = /** @type {HTMLCanvasElement} */ (document.querySelector("#map-travel"));
        const pixels = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
        return pixels.some((value) => value !== 0);
      });
      assert.equal(drawn, false);
    }));

  it("offers no fault injection outside the demo", () =>
    onPage({}, async (page) => {
      await page.route("**/web/config.json", (route) =>
        route.fulfill({ json: { version: "0.0.0", control: null, natsCommand: null, operations: false } }),
      );
      await page.goto(SHOP);
      await page.locator("#status[data-state=live]").waitFor();
      await page.locator("#break-none").waitFor();
      assert.equal(await page.locator("#break").isVisible(), false);
      assert.equal(await page.locator("nav a[href='#break']").isVisible(), false);
    }));
});
