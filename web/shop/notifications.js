// Customer notifications, newest first. The API lists them oldest first, so the end is searched once, and read from
// there.

/** @import {Notification, Page} from "../types.js" */

import { byId, el, keyed } from "../lib/dom.js";
import { ago } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { Reading, showCondition } from "../lib/reading.js";
import { readFrom } from "../model.js";
import { open } from "../orders/detail.js";
import { customers } from "./customers.js";

/** How many are listed, and how many one request reads. */
const LISTED = 6;
const READ = 100;

/** @type {Map<string, {after: number, settled: Notification[]}>} */
const seen = new Map();
/** @type {Reading<Notification[]>} */
const notifications = new Reading(/** @type {Notification[]} */ ([]));

export function mountNotifications() {
  poll(() => notifications.read(query), 1500);
  notifications.watch(({ value }) => {
    const empty = value.length ? "" : "No notifications.";
    showCondition(byId("notifications"), byId("notifications-condition"), notifications, empty);
    keyed(byId("notifications-rows"), value, (one) => String(one.sequence), row, update);
  });
}

async function query() {
  const now = customers();
  for (const customer of seen.keys()) if (!now.includes(customer)) seen.delete(customer);
  const lists = await Promise.all(now.map(newest));
  return lists
    .flat()
    .sort((a, b) => b.sequence - a.sequence)
    .slice(0, LISTED);
}

/** @param {string} customer */
async function newest(customer) {
  let state = seen.get(customer);
  if (!state) {
    const last = await lastSequence(customer);
    state = { after: Math.max(0, last - READ), settled: [] };
    seen.set(customer, state);
  }
  const { items } = await list(customer, state.after, READ);
  // Pending notifications are read again; of a full page all but the newest are settled.
  const pending = items.findIndex((one) => !one.deliveredAt);
  const settled = items.length === READ ? READ - LISTED : pending < 0 ? items.length : pending;
  state.settled = [...state.settled, ...items.slice(0, settled)].slice(-LISTED);
  state.after = items[settled - 1]?.sequence ?? state.after;
  return [...state.settled, ...items.slice(settled)].slice(-LISTED);
}

/**
 * @param {string} customer
 * @param {number} after
 * @param {number} limit
 * @returns {Promise<Page<Notification>>}
 */
async function list(customer, after, limit) {
  const path = `/customers/${encodeURIComponent(customer)}/notifications?after=${after}&limit=${limit}`;
  return (await readFrom("notification-service", path)) ?? { items: [], next: null };
}

/**
 * Searches a position with at most one page after it, with a logarithmic number of requests.
 *
 * @param {string} customer
 */
async function lastSequence(customer) {
  const some = async (/** @type {number} */ after) => (await list(customer, after, 1)).items.length > 0;
  let [low, high] = [0, 128];
  while (await some(high)) [low, high] = [high, high * 4];
  while (high - low > READ / 2) {
    const middle = Math.floor((low + high) / 2);
    if (await some(middle)) low = middle;
    else high = middle;
  }
  return high;
}

/** @param {Notification} one */
function row(one) {
  return el(
    "li",
    { title: one.text },
    el("button", { type: "button", class: "key", onclick: () => open(one.orderId) }, one.subject),
    el("span", { class: "quiet" }),
  );
}

/**
 * @param {HTMLElement} element
 * @param {Notification} one
 */
function update(element, one) {
  const when = element.querySelector("span");
  if (when)
    when.textContent = `${one.customerId} · ${one.deliveredAt ? `e-mail sent ${ago(one.deliveredAt)}` : "e-mail pending"}`;
}
