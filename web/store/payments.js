// The payments of the newest orders.

/** @import {Order, Payment} from "../types.js" */

import { find } from "../lib/api.js";
import { byId, el, fill, keyed } from "../lib/dom.js";
import { money } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { orders } from "../model.js";
import { open } from "../orders/detail.js";
import { pill } from "../orders/pill.js";

/** How many payments are listed: each is asked for by itself. */
const LISTED = 6;

/** @type {Map<string, {version: number, payment: Payment}>} payments that cannot change before their order does */
const settled = new Map();

export function mountPayments() {
  poll(async () => {
    const newest = orders.value.slice(0, LISTED);
    const payments = await Promise.all(newest.map(ask));
    const found = payments.filter((payment) => payment !== null);
    keyed(byId("payments-rows"), found, (payment) => payment.orderId, row, update);
    const kept = new Set(newest.map((order) => order.orderId));
    for (const id of settled.keys()) if (!kept.has(id)) settled.delete(id);
  }, 2000);
}

/**
 * @param {Order} order
 * @returns {Promise<Payment | null>}
 */
async function ask({ orderId, version, status }) {
  const known = settled.get(orderId);
  if (known?.version === version) return known.payment;
  /** @type {Payment | null} */
  const payment = await find(`/orders/${encodeURIComponent(orderId)}/payment`);
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
