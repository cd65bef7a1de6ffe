// A browser on the running demo, and the checks that every test of the dashboard shares.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export const SHOP = process.env.SHOP_URL ?? "http://127.0.0.1:8900";

/** The path of Chromium on Debian and others. */
const EXECUTABLE = process.env.CHROMIUM || "/usr/bin/chromium";

/** @type {import("playwright-core").Browser | null} */
let browser = null;

export async function launch() {
  browser ??= await chromium.launch({
    executablePath: EXECUTABLE,
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
  return browser;
}

export async function close() {
  await browser?.close();
  browser = null;
}

/**
 * Opens the dashboard and passes it to a test. Fails afterwards if a request went to an origin other than the shop's
 * and its control API's, the Content-Security-Policy was violated, or a script failed.
 *
 * @param {import("playwright-core").BrowserContextOptions} options
 * @param {(page: import("playwright-core").Page) => Promise<void>} use
 */
export async function onPage(options, use) {
  const context = await (await launch()).newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  /** @type {string[]} */
  const faults = [];
  const { origin } = new URL(SHOP);
  const config = await (await fetch(`${SHOP}/web/config.json`)).json();
  const allowed = [origin, config.control?.url].filter(Boolean);
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && !allowed.includes(url.origin))
      faults.push(`requested ${request.url()}`);
  });
  page.on("pageerror", (error) => faults.push(`a script failed: ${error.message}`));
  page.on("console", (message) => {
    if (/Content Security Policy/i.test(message.text())) faults.push(message.text());
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  try {
    await page.goto(SHOP);
    await page.locator("#status[data-state=live]").waitFor();
    await use(page);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

/**
 * Waits until a condition is met.
 *
 * @param {string} what
 * @param {() => Promise<boolean>} condition
 * @param {number} [seconds]
 */
export async function eventually(what, condition, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, `not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function read(path) {
  const response = await fetch(SHOP + path);
  return response.ok ? response.json() : null;
}

/** @param {import("playwright-core").Page} page */
export function openOrder(page) {
  return page.locator("#order-title").innerText();
}

/**
 * Waits until the dashboard shows the open order with a status.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} status
 * @param {number} [seconds]
 */
export async function shows(page, status, seconds = 30) {
  await page.locator(`#order-facts .pill.${status}`).waitFor({ timeout: seconds * 1000 });
}
