// The buttons that place orders, and the last outcome.

/** @import {NewOrder} from "../types.js" */

import { reason } from "../lib/api.js";
import { byId, el } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { Outcome } from "../lib/outcome.js";
import { Signal } from "../lib/signal.js";
import { refreshOrders } from "../model.js";
import { open, present } from "./detail.js";
import { anOrder, burst, place, placeTimes, withStock } from "./placing.js";

/** The last order that was placed on this dashboard. */
export const lastPlaced = new Signal(/** @type {NewOrder | null} */ (null));
/** The result of sending one order several times. */
export const lastRepeated = new Signal(
  /** @type {{order: NewOrder, sent: number, suppressed: number} | null} */ (null),
);

/** The failing orders that one button places. */
const CASES = {
  limit: {
    customer: "CUSTOMER_002",
    units: 1,
    price: 250_000,
    about: "€2,500.00 for Ben, declined if that is over his credit limit",
  },
  unknown: { customer: "CUSTOMER_001", units: 1, price: 500, about: "for an unknown product" },
};

/** @type {Outcome} */
let outcome;

/** @typedef {(orderId: string, text: string) => void} Announce */

/** Sets up the buttons. */
export function mountPlacing() {
  outcome = new Outcome(byId("place-outcome"));
  byId("place-one").addEventListener("click", () => void placeOne());
  byId("place-same").addEventListener("click", () => void placeSame());
  byId("place-limit").addEventListener("click", () => void doing(overTheLimit));
  byId("place-short").addEventListener("click", () => void doing(overTheStock));
  byId("place-unknown").addEventListener("click", () => void doing(unknownProduct));
  byId("burst-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void startBurst();
  });
}

/** Places an order that can be fulfilled, and opens it. */
export async function placeOne() {
  await doing(async (announce) => {
    const { productId, restocked } = await withStock(1);
    const order = anOrder("CUSTOMER_001", productId, 1, 500);
    const { durability } = await place(order);
    lastPlaced.set(order);
    present(order.orderId);
    const stored = durability.replace("fsynced", "stored").replace("unsynced", "stored, not yet fsynced");
    announce(order.orderId, `is accepted (${stored}): one ${productId} for Ada.${restockNote(restocked)}`);
  });
}

/** Sends one order five times concurrently. */
export async function placeSame() {
  await doing(async (announce) => {
    const { productId, restocked } = await withStock(1);
    const order = anOrder("CUSTOMER_001", productId, 1, 500);
    const { sent, suppressed } = await placeTimes(order, 5);
    lastPlaced.set(order);
    lastRepeated.set({ order, sent, suppressed });
    present(order.orderId);
    const duplicates = `${suppressed} duplicates ignored`;
    announce(order.orderId, `was sent ${sent} times: ${duplicates} by the stream.${restockNote(restocked)}`);
  });
}

/** @param {number} restocked */
function restockNote(restocked) {
  return restocked ? ` Too little stock was available: ${count(restocked)} units were restocked first.` : "";
}

/** @param {Announce} announce */
async function overTheLimit(announce) {
  const { customer, units, price, about } = CASES.limit;
  const { productId } = await withStock(units);
  await placeCase(announce, anOrder(customer, productId, units, price), about);
}

/** @param {Announce} announce */
async function overTheStock(announce) {
  const order = anOrder("CUSTOMER_001", "PRODUCT_003", 40, 100);
  await placeCase(
    announce,
    order,
    "40 units of PRODUCT_003: if fewer are available, it waits 20 s for a restock",
  );
}

/** @param {Announce} announce */
async function unknownProduct(announce) {
  const { customer, units, price, about } = CASES.unknown;
  await placeCase(announce, anOrder(customer, "PRODUCT_404", units, price), about);
}

/**
 * @param {Announce} announce
 * @param {NewOrder} order
 * @param {string} about
 */
async function placeCase(announce, order, about) {
  await place(order);
  lastPlaced.set(order);
  present(order.orderId);
  announce(order.orderId, `is accepted; ${about}.`);
}

/** @type {AbortController | null} */
let bursting = null;

/** Begins a burst, or stops the running one. */
async function startBurst() {
  if (bursting) {
    bursting.abort();
    return;
  }
  const input = /** @type {HTMLInputElement} */ (byId("burst-number"));
  const number = Math.min(20_000, Math.max(1, Math.round(Number(input.value) || 0)));
  const button = byId("burst-go");
  bursting = new AbortController();
  button.textContent = "Stop";
  const began = performance.now();
  await doing(async (announce) => {
    let drawn = 0;
    const progress = (/** @type {number} */ placed) => {
      const now = performance.now();
      if (now - drawn < 200) return;
      drawn = now;
      announce("", `${count(placed)} of ${count(number)} orders are accepted, one cent each …`);
    };
    const { placed, failed } = await burst(
      number,
      progress,
      /** @type {AbortController} */ (bursting).signal,
    );
    const seconds = Math.max(0.1, (performance.now() - began) / 1000);
    const refused = failed ? ` ${count(failed)} were not accepted: send them again later.` : "";
    announce("", `${count(placed)} orders accepted in ${seconds.toFixed(1)} s, one cent each.${refused}`);
  });
  bursting = null;
  button.textContent = "Burst";
}

/**
 * Runs an action, and shows its outcome unless another action has begun.
 *
 * @param {(announce: Announce) => Promise<void>} act
 */
async function doing(act) {
  const setText = outcome.begin("Sending …");
  try {
    await act((orderId, text) => {
      const key =
        orderId && el("button", { type: "button", class: "key", onclick: () => open(orderId) }, orderId);
      setText(false, key, key ? " " : "", text);
    });
  } catch (error) {
    setText(true, `Not accepted: ${reason(error)}`);
  }
  refreshOrders();
}
