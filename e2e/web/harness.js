// A browser on the demo that runs, and what every page of every test must keep.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export const STORE = process.env.STORE_URL ?? "http://127.0.0.1:8900";

/** Where Debian and others have Chromium. */
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
 * Opens the page and gives it to a test. Afterwards: nothing was asked of another origin than the shop's and its
 * control's, nothing offended the Content-Security-Policy, and no script failed.
 *
 * @param {import("playwright-core").BrowserContextOptions} options
 * @param {(page: import("playwright-core").Page) => Promise<void>} use
 */
export async function onPage(options, use) {
  const context = await (await launch()).newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  /** @type {string[]} */
  const faults = [];
  const { origin } = new URL(STORE);
  const config = await (await fetch(`${STORE}/web/config.json`)).json();
  const allowed = [origin, config.control?.url].filter(Boolean);
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && !allowed.includes(url.origin))
      faults.push(`asked ${request.url()}`);
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
    await page.goto(STORE);
    await page.locator("#status[data-state=live]").waitFor();
    await use(page);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

/**
 * Waits until something holds.
 *
 * @param {string} what
 * @param {() => Promise<boolean>} holds
 * @param {number} [seconds]
 */
export async function eventually(what, holds, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `in vain for ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function ask(path) {
  const response = await fetch(STORE + path);
  return response.ok ? response.json() : null;
}

/** @param {import("playwright-core").Page} page */
export function openOrder(page) {
  return page.locator("#order-title").innerText();
}

/**
 * Waits until the order that is open on the page stands somewhere, as the page shows it.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} status
 * @param {number} [seconds]
 */
export async function shows(page, status, seconds = 30) {
  await page.locator(`#order-facts .pill.${status}`).waitFor({ timeout: seconds * 1000 });
}
