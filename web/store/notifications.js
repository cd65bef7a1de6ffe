// What customers were told, newest first. The interface lists them oldest first, so the end is searched for once, and
// read from there.

/** @import {Notification, Page} from "../types.js" */

import { get } from "../lib/api.js";
import { byId, el, keyed } from "../lib/dom.js";
import { ago } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { open } from "../orders/detail.js";
import { customers } from "./customers.js";

/** How many are listed, and how many are read at a time. */
const LISTED = 6;
const READ = 100;

/** @type {Map<string, {after: number, newest: Notification[]}>} */
const told = new Map();

export function mountNotifications() {
  poll(async () => {
    const now = customers();
    for (const customer of told.keys()) if (!now.includes(customer)) told.delete(customer);
    const lists = await Promise.all(now.map(newest));
    const all = lists.flat().sort((a, b) => b.sequence - a.sequence);
    keyed(byId("notifications-rows"), all.slice(0, LISTED), (one) => String(one.sequence), row, update);
  }, 2500);
}

/** @param {string} customer */
async function newest(customer) {
  let state = told.get(customer);
  if (!state) {
    const last = await lastSequence(customer);
    state = { after: Math.max(0, last - READ), newest: [] };
    told.set(customer, state);
  }
  const page = await list(customer, state.after, READ);
  const last = page.items.at(-1);
  if (last) {
    state.after = last.sequence;
    state.newest = [...state.newest, ...page.items].slice(-LISTED);
  }
  return state.newest;
}

/**
 * @param {string} customer
 * @param {number} after
 * @param {number} limit
 * @returns {Promise<Page<Notification>>}
 */
function list(customer, after, limit) {
  return get(`/customers/${encodeURIComponent(customer)}/notifications?after=${after}&limit=${limit}`);
}

/**
 * Searches for a place with at most a page behind it, in about as many questions as the number has binary digits.
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
    when.textContent = `${one.customerId} · ${one.deliveredAt ? `mailed ${ago(one.deliveredAt)}` : "to be mailed"}`;
}
