// The payments of the newest orders.

/** @import {Order, Payment} from "../types.js" */

import { byId, el, fill, keyed } from "../lib/dom.js";
import { money } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { Reading, showCondition } from "../lib/reading.js";
import { orders, readFrom } from "../model.js";
import { open } from "../orders/detail.js";
import { pill } from "../orders/pill.js";

/** How many payments are listed, with one request each. */
const LISTED = 6;

/** @type {Map<string, {version: number, payment: Payment}>} payments that can only change with their order */
const settled = new Map();

/** @type {Reading<Payment[]>} */
const payments = new Reading(/** @type {Payment[]} */ ([]));

export function mountPayments() {
  poll(updateAll, 1500);
  payments.watch(({ value }) => {
    const empty = value.length ? "" : "No payments of the newest orders.";
    showCondition(byId("payments"), byId("payments-condition"), payments, empty);
    keyed(byId("payments-rows"), value, (payment) => payment.orderId, row, update);
  });
}

async function updateAll() {
  const newest = orders.value.slice(0, LISTED);
  // Without orders nothing can be claimed about payments, and without any order there is nothing to read.
  if (!orders.at) return orders.problem ? payments.failed(orders.problem) : undefined;
  if (!newest.length) return payments.got([], orders.at);
  await payments.read(async () => {
    // The first payment is always read: cached ones count as current only if the service responds.
    const found = await Promise.all(newest.map((order, index) => (index ? cached(order) : query(order))));
    return found.filter((payment) => payment !== null);
  });
  const kept = new Set(newest.map((order) => order.orderId));
  for (const id of settled.keys()) if (!kept.has(id)) settled.delete(id);
}

/** @param {Order} order */
async function cached(order) {
  const known = settled.get(order.orderId);
  return known?.version === order.version ? known.payment : query(order);
}

/**
 * @param {Order} order
 * @returns {Promise<Payment | null>}
 */
async function query({ orderId, version, status }) {
  /** @type {Payment | null} */
  const payment = await readFrom("payment-service", `/orders/${encodeURIComponent(orderId)}/payment`);
  if (payment && status === "confirmed" && payment.status === "captured")
    settled.set(orderId, { version, payment });
  return payment;
}

/** @param {Payment} payment */
function row({ orderId }) {
  const button = el("button", { type: "button", class: "key", onclick: () => open(orderId) }, orderId);
  return el("tr", {}, el("th", { scope: "row" }, button), el("td", {}), el("td", { class: "number" }));
}

/**
 * @param {HTMLElement} element
 * @param {Payment} payment
 */
function update(element, payment) {
  const [status, amount] = element.querySelectorAll("td");
  if (!status || !amount) return;
  const print = `${payment.status} ${payment.reason ?? ""}`;
  if (status.dataset.print !== print) {
    status.dataset.print = print;
    fill(
      status,
      pill(payment.status, payment.reason ?? ""),
      payment.reason && el("small", {}, payment.reason.replaceAll("-", " ")),
    );
  }
  amount.textContent = money(payment.amount, payment.currency);
}
