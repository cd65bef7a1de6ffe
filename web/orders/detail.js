// One order: where it stands, what it waits for, and the diagram of what really happened.

/** @import {Order, Payment, Timeline} from "../types.js" */

import { find, reason } from "../lib/api.js";
import { byId, el, fill, say } from "../lib/dom.js";
import { Feed } from "../lib/feed.js";
import { ago, count, duration, lasting, money } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { shortName } from "../lib/services.js";
import { Signal } from "../lib/signal.js";
import { orders, refreshOrders, selected } from "../model.js";
import { pill } from "./pill.js";
import { cancel, findOrder, isFinal, placeTimes } from "./placing.js";
import { diagram } from "./sequence.js";

/** How often an open order is looked at, in milliseconds; its events make it sooner. */
const LOOK = 2000;

/** The types of events about an order: a browser hears only those that it is told of. */
const TYPES = [
  ...["placed", "awaiting-stock", "reserved", "confirmed", "cancelled"].map((name) => `order.${name}.v1`),
  ...["reserved", "backordered", "refused", "released"].map((name) => `inventory.${name}.v1`),
  ...["captured", "declined", "refunded"].map((name) => `payment.${name}.v1`),
];

/**
 * Everything about the open order.
 *
 * @typedef {{id: string, order: Order | null, payment: Payment | null, timeline: Timeline | null, failed: string}} Detail
 */

/** The open order as it was seen last; null where none is open. */
export const detail = new Signal(/** @type {Detail | null} */ (null));

/** @type {{feed: Feed, poll: {now: () => void, stop: () => void}} | null} */
let following = null;
/** A diagram is drawn again only where it would be another one. */
let drawn = "";

/** Shows the order that the address names, and what becomes of it. */
export function mountDetail() {
  const read = () => {
    const id = /^#order=([A-Za-z0-9_-]{1,64})$/.exec(location.hash)?.[1] ?? "";
    if (id && id !== selected.value) follow(id);
  };
  addEventListener("hashchange", read);
  addEventListener("popstate", read);
  detail.watch(show);
  read();
  // Where nobody has chosen one, the newest that is there at first.
  const stop = orders.watch((list) => {
    const newest = list[0];
    if (!newest) return;
    setTimeout(() => stop());
    if (!selected.value) follow(newest.orderId);
  });
}

/**
 * Opens an order.
 *
 * @param {string} id
 */
export function open(id) {
  if (location.hash !== `#order=${id}`) history.pushState(null, "", `#order=${id}`);
  follow(id);
  const panel = byId("order");
  const { top } = panel.getBoundingClientRect();
  if (top < 0 || top > innerHeight * 0.75) {
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    panel.scrollIntoView({ behavior, block: "start" });
  }
  byId("order-title").focus({ preventScroll: true });
}

/**
 * Shows an order where orders are shown, and leaves the page where it is.
 *
 * @param {string} id
 */
export function present(id) {
  history.replaceState(null, "", `#order=${id}`);
  follow(id);
}

/** @param {string} id */
function follow(id) {
  following?.feed.close();
  following?.poll.stop();
  following = null;
  drawn = "";
  selected.set(id);
  if (!id) {
    detail.set(null);
    return;
  }
  detail.set({ id, order: null, payment: null, timeline: null, failed: "" });
  const looking = poll(() => look(id), LOOK);
  const heard = Object.fromEntries(TYPES.map((type) => [type, () => looking.now()]));
  following = { feed: new Feed(`/events?orderId=${encodeURIComponent(id)}`, heard), poll: looking };
}

/** @param {string} id */
async function look(id) {
  const path = `/orders/${encodeURIComponent(id)}`;
  const known = detail.value?.id === id ? detail.value : null;
  /** @type {Detail} */
  const next = {
    id,
    order: known?.order ?? null,
    payment: known?.payment ?? null,
    timeline: known?.timeline ?? null,
    failed: "",
  };
  // What does not answer leaves what was known; the timeline says who it is.
  next.order = await findOrder(id).catch(() => next.order);
  try {
    next.timeline = await find(`${path}/timeline`);
  } catch (error) {
    next.failed = reason(error);
  }
  const payment = /** @type {Promise<Payment | null>} */ (find(`${path}/payment`));
  next.payment = await payment.catch(() => next.payment);
  if (selected.value === id) detail.set(next);
}

/** @param {Detail | null} now */
function show(now) {
  byId("order").classList.toggle("empty", !now);
  say(byId("order-title"), now ? now.id : "One order");
  byId("order-hint").hidden = Boolean(now);
  byId("order-body").hidden = !now;
  if (!now) return;
  fill(byId("order-facts"), ...facts(now));
  fill(byId("order-waits"), ...waits(now));
  actions(now);
  const steps = now.timeline?.steps ?? [];
  const print = JSON.stringify([now.id, steps]);
  if (print !== drawn) {
    drawn = print;
    diagram(byId("order-diagram"), now.id, steps);
  }
}

/** @param {Detail} now */
function facts({ order, payment, timeline }) {
  if (!order) {
    const text = timeline
      ? "Its command is stored, and no service has made an order of it yet."
      : "Looking …";
    return [el("p", { class: "quiet" }, text)];
  }
  const items = order.items.map((item) => `${count(item.quantity)} × ${item.productId}`).join(", ");
  const lasted = Date.parse(order.updatedAt) - Date.parse(order.placedAt);
  const rows = [
    ["Status", pill(order.status, order.reason?.code)],
    ["Total", `${money(order.totalPrice, order.currency)} · ${items}`],
    ["Customer", order.customerId],
    [
      "Payment",
      payment
        ? `${payment.status.replace("-", " ")}${payment.reason ? `: ${payment.reason}` : ""}`
        : "none yet",
    ],
    isFinal(order.status) ? ["Took", duration(lasted)] : ["Placed", ago(order.placedAt)],
  ];
  if (order.reason) rows.splice(1, 0, ["Because", order.reason.text || order.reason.code.replace("-", " ")]);
  return rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
}

/** @param {Detail} now */
function waits({ timeline, failed, order }) {
  const lines = [];
  for (const wait of timeline?.waitsFor ?? []) {
    lines.push(
      el(
        "li",
        {},
        el("b", {}, "Waits: "),
        wait.what,
        el("span", { class: "quiet" }, wait.since ? ` · for ${lasting(wait.since)}` : ""),
      ),
    );
  }
  if (!lines.length && order && !isFinal(order.status)) lines.push(el("li", {}, "Under way."));
  for (const source of timeline?.sources ?? []) {
    if (source.answered) continue;
    lines.push(
      el("li", {}, el("b", {}, `${shortName(source.name)} does not tell: `), source.detail ?? "no answer"),
    );
  }
  if (failed) lines.push(el("li", {}, el("b", {}, "As it was seen last: "), failed));
  return lines;
}

/** @param {Detail} now */
function actions({ id, order }) {
  const [again, stop] = [byId("order-again"), byId("order-cancel")];
  again.onclick = () => void repeat(id);
  stop.onclick = () => void withdraw(id);
  again.hidden = !order;
  stop.hidden = !order || isFinal(order.status);
}

/**
 * Sends the open order once more, as a client would whose answer was lost.
 *
 * @param {string} id
 */
async function repeat(id) {
  const order = detail.value?.order;
  if (!order || order.orderId !== id) return;
  const { orderId, customerId, currency, items } = order;
  try {
    const { suppressed } = await placeTimes({ orderId, customerId, currency, items }, 1);
    const by = suppressed
      ? "the stream had it already and dropped it"
      : "order-service knows it and drops it";
    say(byId("order-outcome"), `Sent once more: ${by}. Nothing happens twice.`);
  } catch (error) {
    say(byId("order-outcome"), reason(error));
  }
}

/** @param {string} id */
async function withdraw(id) {
  try {
    await cancel(id);
    say(byId("order-outcome"), "The wish to cancel is stored. Whether it came in time, the diagram tells.");
  } catch (error) {
    say(byId("order-outcome"), reason(error));
  }
  refreshOrders();
}
