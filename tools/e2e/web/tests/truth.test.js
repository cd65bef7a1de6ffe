// The dashboard shows nothing untrue: every process is killed and paused in turn, and every panel is checked.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { close, eventually, onPage, openOrder, read, shows, SHOP } from "../harness.js";
import { observer } from "../observer.js";

/** @import {Page} from "playwright-core" */

after(close);

/** The panels with data that the gateway reads from services. */
const READ = ["#orders", "#order", "#stock", "#accounts", "#payments", "#notifications", "#projections"];
const ALL = [...READ, "#overview", "#charts"];

/**
 * Each process, the panels that depend on it, and the status of an order that is placed while it is down; empty if none
 * can be placed or read.
 *
 * @type {Record<string, {panels: string[], status: string}>}
 */
const PROCESSES = {
  "order-service": { panels: ["#order"], status: "" },
  "inventory-service": { panels: ["#stock"], status: "placed" },
  "account-service": { panels: ["#accounts"], status: "confirmed" },
  "payment-service": { panels: ["#payments"], status: "reserved" },
  "notification-service": { panels: ["#notifications"], status: "confirmed" },
  "projection-service": { panels: ["#orders", "#projections"], status: "confirmed" },
  "payment-provider": { panels: [], status: "reserved" },
  "nats-server": { panels: ALL, status: "" },
  "api-gateway": { panels: [...ALL, "#invariants"], status: "" },
};

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
async function control(path) {
  const { control } = await config;
  const headers = { authorization: `Bearer ${control.token}` };
  const response = await fetch(control.url + path, { method: "POST", headers });
  assert.equal(response.ok, true, `${path}: ${await response.text()}`);
}

// Read once: the gateway is down in some of the tests.
const config = fetch(`${SHOP}/web/config.json`).then((response) => response.json());

/** @returns {Promise<string>} */
async function place() {
  const orderId = `ORDER_T${Math.random().toString(36).slice(2, 9).toUpperCase()}`;
  const items = [{ productId: "PRODUCT_002", quantity: 1, unitPrice: 100 }];
  const response = await fetch(`${SHOP}/orders`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ orderId, customerId: "CUSTOMER_001", currency: "EUR", items }),
  });
  assert.equal(response.ok, true, await response.text());
  return orderId;
}

/** @param {string} id */
async function confirmed(id) {
  await eventually(
    `${id} is confirmed`,
    async () => (await read(`/orders/${id}`))?.status === "confirmed",
    60,
  );
}

/**
 * @param {Page} page
 * @param {string} id
 */
async function openById(page, id) {
  await page.locator("#orders-id").fill(id);
  await page.locator("#orders-find button").click();
  await page.locator("#order-title", { hasText: id }).waitFor();
}

/**
 * Waits until every panel is current.
 *
 * @param {Page} page
 */
async function allCurrent(page) {
  await page.locator("#status[data-state=live]").waitFor({ timeout: 60_000 });
  for (const panel of ALL)
    await page.locator(`${panel}[data-condition=current]`).waitFor({ state: "attached", timeout: 30_000 });
  await page.locator("#invariants[data-status=pass]").waitFor({ timeout: 60_000 });
}

/**
 * Checks the panel of a final order while a process is down.
 *
 * @param {Page} page
 * @param {string} process
 */
async function finished(page, process) {
  const facts = page.locator("#order-facts");
  if (process === "payment-service") {
    await facts.locator("dd .condition", { hasText: "payment-service" }).waitFor();
    assert.equal(await facts.getByText("none yet").count(), 0);
  } else if (PROCESSES[process]?.panels.includes("#order")) {
    await facts.getByText(/Status unknown|Last known state/).waitFor();
  } else {
    await facts.locator(".pill.confirmed").waitFor();
    await facts.getByText("captured").waitFor();
  }
}

/**
 * Takes a process down, checks every panel, and brings it back.
 *
 * @param {Page} page
 * @param {string} process
 * @param {{down: string, up: string}} how
 * @param {string} done an order that is confirmed
 */
async function takeDown(page, process, { down, up }, done) {
  const { panels, status } = PROCESSES[process] ?? { panels: [], status: "" };
  const reachable = !["api-gateway", "nats-server"].includes(process);
  let underWay = reachable ? "" : await place();
  if (underWay) await openById(page, underWay);
  await control(`/components/${process}/${down}`);
  try {
    await page.evaluate((fault) => Object.assign(globalThis, { fault }), {
      process,
      since: Date.now(),
      panels,
    });
    if (reachable) {
      underWay = await place();
      await openById(page, underWay);
      if (status) await shows(page, status, 10);
      else await page.locator("#order-facts", { hasText: "unknown" }).waitFor();
    }
    for (const panel of panels)
      await page.locator(`${panel}:not([data-condition=current])`).waitFor({ state: "attached" });
    await openById(page, done);
    await finished(page, process);
    await page.waitForFunction(() => Date.now() - /** @type {any} */ (globalThis).fault.since > 4500);
  } finally {
    await page.evaluate(() => Object.assign(globalThis, { fault: null }));
    await control(`/components/${process}/${up}`);
  }
  await confirmed(underWay);
  await openById(page, underWay);
  await shows(page, "confirmed");
  await allCurrent(page);
}

/** @param {Page} page */
async function untruths(page) {
  return page.evaluate(() => [.../** @type {any} */ (globalThis).untruths]);
}

describe("the dashboard shows nothing untrue", { concurrency: false }, () => {
  before(async () => {
    const response = await fetch(`${SHOP}/products/PRODUCT_002/restock`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": `"${crypto.randomUUID()}"` },
      body: JSON.stringify({ quantity: 1000 }),
    });
    assert.equal(response.ok, true, await response.text());
  });

  const WAYS = [
    { down: "kill", up: "start" },
    { down: "pause", up: "resume" },
  ];
  for (const process of Object.keys(PROCESSES)) {
    it(`with ${process} killed, then paused, and when it is back`, () =>
      onPage({}, async (page) => {
        page.setDefaultTimeout(15_000);
        await page.evaluate(observer);
        const done = await place();
        await confirmed(done);
        for (const how of WAYS) {
          await takeDown(page, process, how, done);
          assert.deepEqual(await untruths(page), [], how.down);
        }
      }));
  }

  it("about an order that does not exist, or whose id is only the key of other messages", () =>
    onPage({}, async (page) => {
      await openById(page, "ORDER_NOPE");
      await page.locator("#order-facts", { hasText: "No order ORDER_NOPE." }).waitFor();
      await openById(page, "CUSTOMER_001");
      await page.locator("#order-facts", { hasText: "No order CUSTOMER_001." }).waitFor();
      assert.equal(await page.locator("#order-messages").isHidden(), true);
    }));

  it("about an order whose command was dead-lettered", () =>
    onPage({}, async (page) => {
      const id = await place();
      await confirmed(id);
      const timeline = await read(`/orders/${id}/timeline`);
      const command = timeline.steps.find((/** @type {any} */ step) =>
        step.subject.includes("order.command"),
      );
      command.consumers = [
        {
          service: "order-service",
          status: "dead-lettered",
          at: null,
          failures: 0,
          failure: "not a valid UUID",
          duplicates: 0,
        },
      ];
      const only = { ...timeline, steps: [command], blockedOn: [] };
      await page.route(`**/orders/ORDER_DEAD`, (route) => route.fulfill({ status: 404, json: {} }));
      await page.route(`**/orders/ORDER_DEAD/timeline`, (route) => route.fulfill({ json: only }));
      await openById(page, "ORDER_DEAD");
      await page
        .locator("#order-facts", { hasText: "Command dead-lettered by order-service: not a valid UUID" })
        .waitFor();
      await page.locator("#order-diagram .sums", { hasText: "1 message · 1 dead-lettered" }).waitFor();
      assert.equal(await page.locator("#order-diagram", { hasText: "no attempt failed" }).count(), 0);
      await page.locator("#order-diagram .step").click();
      await page.locator("#message-consumers", { hasText: "reason: not a valid UUID" }).waitFor();
    }));

  it("while an order is read: the parts that arrived are shown, and the rest is loading, not missing", () =>
    onPage({}, async (page) => {
      const id = await place();
      await confirmed(id);
      /** @type {() => void} */
      let respond = () => {};
      const held = new Promise((resolve) => (respond = () => resolve(null)));
      await page.route(`**/orders/${id}/timeline`, async (route) => {
        await held;
        await route.continue();
      });
      await openById(page, id);
      await shows(page, "confirmed");
      assert.equal(await page.locator("#order-messages").innerText(), "Loading …");
      respond();
      await page.locator("#order-diagram .step").first().waitFor();
      assert.equal(await page.locator("#order-messages").isHidden(), true);
    }));

  it("with as many rows as violations, even if they are equal", () =>
    onPage({}, async (page) => {
      const board = await read("/invariants");
      const check = board.checks.find((/** @type {any} */ one) => one.name === "dead-letters");
      check.status = "fail";
      check.examined = 3;
      check.violations = [1, 2, 3].map((n) => ({
        key: "ORDER_001",
        explanation: `dead letter ${n % 2}`,
        id: "same",
      }));
      check.total = 3;
      let responses = 0;
      await page.route("**/invariants", (route) => {
        responses += 1;
        return route.fulfill({ json: { ...board, checkedAt: new Date().toISOString() } });
      });
      await page.locator("#invariants[data-status=fail]").waitFor();
      await eventually("the invariants were read three times", async () => responses > 3);
      assert.equal(await page.locator("[data-check=dead-letters] .cases li").count(), 3);
      assert.match(await page.locator("#invariants-title").innerText(), /^1 of \d+ fails/);
      await page
        .locator('#map-drawing [data-stream="DEAD_LETTERS"].alarm .count', { hasText: /^3$/ })
        .waitFor();
      // Unknown results claim nothing, and with an outdated result no check passes.
      for (const one of board.checks) Object.assign(one, { status: "unknown", violations: [], total: 0 });
      await page
        .locator("#invariants-title", { hasText: /^Unknown: (\d+) of \1 checks cannot run$/ })
        .waitFor();
      assert.equal(
        await page.locator('#map-drawing [data-stream="DEAD_LETTERS"] .count').textContent(),
        "unknown",
      );
      for (const one of board.checks) one.status = "pass";
      await page.locator("#invariants[data-status=pass]").waitFor();
      await page.route("**/invariants", (route) =>
        route.fulfill({ json: { ...board, checkedAt: new Date(Date.now() - 9000).toISOString() } }),
      );
      await page.locator("#invariants[data-status=unknown]").waitFor();
      assert.equal(await page.locator("#invariants-list > li[data-status=pass]").count(), 0);
    }));

  it("about the open order only: an outcome disappears with its order", () =>
    onPage({}, async (page) => {
      const [first, second] = [await place(), await place()];
      await confirmed(second);
      await openById(page, first);
      await page.locator("#order-again").click();
      await page.locator("#order-outcome", { hasText: "ignores the duplicate" }).waitFor();
      await openById(page, second);
      assert.equal(await page.locator("#order-outcome").innerText(), "");
    }));

  it("by its address: the order is in view, its title has its id, and the filter is kept", () =>
    onPage({}, async (page) => {
      const id = await place();
      await confirmed(id);
      await page.goto("about:blank");
      await page.goto(`${SHOP}/?status=confirmed#order=${id}`);
      await shows(page, "confirmed");
      await page.locator("#order-title").waitFor();
      await eventually("the order is in view", () =>
        page.evaluate(() => {
          const top = document.querySelector("#order-title")?.getBoundingClientRect().top ?? -1;
          return top >= 0 && top < innerHeight / 2;
        }),
      );
      assert.match(await page.title(), new RegExp(`^${id} confirmed`));
      assert.equal(await page.locator("#orders-filter").inputValue(), "confirmed");
      assert.equal(await openOrder(page), id);
    }));
});
