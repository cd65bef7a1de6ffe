// The newest orders, and where each stands.

/** @import {Order} from "../types.js" */

import { byId, el, fill, keyed, say, set } from "../lib/dom.js";
import { ago, money } from "../lib/format.js";
import { filter, LISTED, orders, reach, refreshOrders, selected } from "../model.js";
import { open } from "./detail.js";
import { pill } from "./pill.js";

/** Shows the list, and makes its filter work. */
export function mountList() {
  const status = /** @type {HTMLSelectElement} */ (byId("orders-filter"));
  status.addEventListener("change", () => {
    filter.set(status.value);
    refreshOrders();
  });
  byId("orders-find").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (byId("orders-id"));
    const id = input.value.trim();
    if (/^[A-Za-z0-9_-]{1,64}$/.test(id)) open(id);
    else input.focus();
  });
  orders.watch(show);
  selected.watch(() => show(orders.value));
  reach.watch(() => show(orders.value));
}

/** @param {Order[]} list */
function show(list) {
  keyed(byId("orders-list"), list, (order) => order.orderId, row, update);
  const only = filter.value ? ` that are ${filter.value}` : "";
  const text = list.length
    ? `The ${list.length < LISTED ? list.length : `newest ${LISTED}`} orders${only}.`
    : reach.value.state === "live"
      ? `No orders${only} yet.`
      : "The orders cannot be read at the moment.";
  say(byId("orders-caption"), text);
}

/** @param {Order} order */
function row(order) {
  const cells = ["id", "stands", "amount", "age"].map((name) => el("span", { class: name }));
  return el(
    "li",
    {},
    el("button", { type: "button", class: "order", onclick: () => open(order.orderId) }, ...cells),
  );
}

/**
 * @param {HTMLElement} element
 * @param {Order} order
 */
function update(element, order) {
  const button = element.firstElementChild;
  if (!button) return;
  set(button, { "aria-pressed": String(order.orderId === selected.value) });
  const [id, status, amount, age] = button.children;
  if (!id || !status || !amount || !age) return;
  say(id, order.orderId);
  say(amount, money(order.totalPrice, order.currency));
  say(age, ago(order.placedAt));
  if (status.getAttribute("data-status") !== order.status) {
    set(status, { "data-status": order.status });
    fill(status, pill(order.status, order.reason?.code));
  }
}
