// The newest orders and their status.

/** @import {Order} from "../types.js" */

import { byId, el, fill, keyed, setText, set } from "../lib/dom.js";
import { ago, money, several } from "../lib/format.js";
import { showCondition } from "../lib/reading.js";
import { filter, LISTED, orders, refreshOrders, selected } from "../model.js";
import { open } from "./detail.js";
import { pill } from "./pill.js";

/** Shows the list and its filter. */
export function mountList() {
  const status = /** @type {HTMLSelectElement} */ (byId("orders-filter"));
  const wanted = new URLSearchParams(location.search).get("status") ?? "";
  if ([...status.options].some((option) => option.value === wanted)) {
    status.value = wanted;
    filter.set(wanted);
  }
  status.addEventListener("change", () => choose(status.value));
  byId("orders-find").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (byId("orders-id"));
    const id = input.value.trim();
    if (/^[A-Za-z0-9_-]{1,64}$/.test(id)) open(id);
    else input.focus();
  });
  orders.watch(show);
  selected.watch(show);
}

/**
 * Lists only orders with a status, and puts it into the address.
 *
 * @param {string} status
 */
function choose(status) {
  const url = new URL(location.href);
  if (status) url.searchParams.set("status", status);
  else url.searchParams.delete("status");
  history.replaceState(null, "", url);
  filter.set(status);
  // The orders of the previous filter are not valid for this one.
  orders.reset();
  refreshOrders();
}

function show() {
  const list = orders.value;
  keyed(byId("orders-list"), list, (order) => order.orderId, row, update);
  const only = filter.value ? ` that are ${filter.value.replaceAll("-", " ")}` : "";
  const all = list.length < LISTED ? several(list.length, "order") : `The newest ${LISTED} orders`;
  const caption = list.length ? `${all}${only}.` : `No orders${only}.`;
  showCondition(byId("orders"), byId("orders-caption"), orders, caption);
}

/** @param {Order} order */
function row(order) {
  const cells = ["id", "order-status", "amount", "age"].map((name) => el("span", { class: name }));
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
  setText(id, order.orderId);
  setText(amount, money(order.totalPrice, order.currency));
  setText(age, ago(order.placedAt));
  if (status.getAttribute("data-status") !== order.status) {
    set(status, { "data-status": order.status });
    fill(status, pill(order.status, order.reason?.code));
  }
}
