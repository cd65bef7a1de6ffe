// One order: its status, its blockers, and the diagram of its messages.

/** @import {Order, Payment, Timeline} from "../types.js" */

import { reason } from "../lib/api.js";
import { byId, fill, refresh, setText, set } from "../lib/dom.js";
import { Feed } from "../lib/feed.js";
import { Outcome } from "../lib/outcome.js";
import { poll } from "../lib/poll.js";
import { describe, Reading } from "../lib/reading.js";
import { Signal } from "../lib/signal.js";
import { orders, readFrom, refreshOrders, selected } from "../model.js";
import { facts, waits } from "./facts.js";
import { cancel, isFinal, placeTimes, suppressedCommands } from "./placing.js";
import { diagram } from "./sequence.js";

/** How often each part of an open order is read, in milliseconds; its events trigger reads earlier. */
const INTERVAL = 1000;
/** How long the open order is kept in view after loading, while the layout above it changes, in milliseconds. */
const LANDING = 4000;
/** The document title while no order is open. */
const TITLE = document.title;

/** The event types of an order: a browser delivers only those with a listener. */
const TYPES = [
  ...["placed", "awaiting-stock", "reserved", "confirmed", "cancelled"].map((name) => `order.${name}.v1`),
  ...["reserved", "backordered", "refused", "released"].map((name) => `inventory.${name}.v1`),
  ...["captured", "declined", "refunded"].map((name) => `payment.${name}.v1`),
];

/**
 * The open order. Each part is read separately and null if it does not exist, so that an unavailable service delays no
 * other part.
 *
 * @typedef {{id: string, order: Reading<Order | null>, payment: Reading<Payment | null>,
 *   timeline: Reading<Timeline | null>}} Detail
 */

/** The open order; null if none is open. */
export const detail = new Signal(/** @type {Detail | null} */ (null));

/** @type {(() => void) | null} stops reading the open order */
let unfollow = null;
/** A diagram is only redrawn if it has changed. */
let drawn = "";
/** @type {Outcome} */
let outcome;

/** Shows the order in the address, and follows it. */
export function mountDetail() {
  outcome = new Outcome(byId("order-outcome"));
  const read = () => {
    const id = /^#order=([A-Za-z0-9_-]{1,64})$/.exec(location.hash)?.[1] ?? "";
    if (id && id !== selected.value) open(id);
  };
  addEventListener("hashchange", read);
  addEventListener("popstate", read);
  detail.watch(show);
  read();
  if (selected.value) land();
  // At first the newest order, unless one was chosen.
  const stop = orders.watch(({ value }) => {
    const newest = value[0];
    if (!newest) return;
    setTimeout(() => stop());
    if (!selected.value) follow(newest.orderId);
  });
}

/**
 * Keeps the open order in view while the layout above it changes, until the user interacts. A reload keeps the scroll
 * position.
 */
function land() {
  const [navigation] = performance.getEntriesByType("navigation");
  if (navigation instanceof PerformanceNavigationTiming && navigation.type === "reload") return;
  const observer = new ResizeObserver(() =>
    byId("order").scrollIntoView({ behavior: "instant", block: "start" }),
  );
  const end = () => observer.disconnect();
  setTimeout(end, LANDING);
  for (const input of ["wheel", "pointerdown", "touchstart", "keydown"])
    addEventListener(input, end, { once: true, passive: true });
  observer.observe(byId("main"));
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
 * Shows an order without scrolling.
 *
 * @param {string} id
 */
export function present(id) {
  history.replaceState(null, "", `#order=${id}`);
  follow(id);
}

/** @param {string} id */
function follow(id) {
  unfollow?.();
  drawn = "";
  outcome.clear();
  selected.set(id);
  /** @type {Detail} */
  const now = {
    id,
    order: new Reading(/** @type {Order | null} */ (null)),
    payment: new Reading(/** @type {Payment | null} */ (null)),
    timeline: new Reading(/** @type {Timeline | null} */ (null)),
  };
  const path = `/orders/${encodeURIComponent(id)}`;
  const readOrder = () => now.order.read(() => readFrom("order-service", path));
  const polls = [
    poll(readOrder, INTERVAL),
    poll(() => now.payment.read(() => readFrom("payment-service", `${path}/payment`)), INTERVAL),
    poll(() => readTimeline(now, path, readOrder), INTERVAL),
  ];
  const again = () => polls.forEach((one) => one.now());
  const feed = new Feed(
    `/events?orderId=${encodeURIComponent(id)}`,
    Object.fromEntries(TYPES.map((type) => [type, again])),
  );
  const changed = () => detail.value === now && detail.set(now);
  detail.set(now);
  const watches = [now.order, now.payment, now.timeline].map((reading) => reading.watch(changed));
  unfollow = () => {
    feed.close();
    for (const one of polls) one.stop();
    for (const stop of watches) stop();
  };
}

/**
 * Reads the timeline. If it is ahead of the order, the order is read first, so that both have the same time.
 *
 * @param {Detail} now
 * @param {string} path
 * @param {() => Promise<void>} readOrder
 */
async function readTimeline({ order, timeline }, path, readOrder) {
  await timeline.read(async () => {
    /** @type {Timeline | null} */
    const found = await readFrom("nats-server", `${path}/timeline`);
    const events = found?.steps.filter((step) => step.subject.startsWith("order.event.")) ?? [];
    const newest = events.at(-1)?.subject.split(".")[2];
    if (newest && newest !== order.value?.status) await readOrder();
    return found;
  });
}

/** @param {Detail | null} now */
function show(now) {
  byId("order").classList.toggle("empty", !now);
  setText(byId("order-title"), now ? now.id : "One order");
  byId("order-hint").hidden = Boolean(now);
  byId("order-body").hidden = !now;
  if (!now) return;
  const status = now.order.isCurrent ? now.order.value?.status : "";
  document.title = status ? `${now.id} ${status.replaceAll("-", " ")} · ${TITLE}` : `${now.id} · ${TITLE}`;
  set(byId("order"), { "data-condition": now.order.condition });
  refresh(byId("order-facts"), ...facts(now));
  refresh(byId("order-waits"), ...waits(now));
  actions(now);
  messages(now);
}

/**
 * Shows the diagram, or the reason why there is none.
 *
 * @param {Detail} now
 */
function messages({ id, order, timeline }) {
  const steps = timeline.value?.steps ?? [];
  set(byId("order-diagram"), { "data-condition": timeline.condition });
  const missing = order.at && !order.value ? "" : "No stream has a message of this order.";
  const text = describe(timeline) || (steps.length ? "" : missing);
  const line = byId("order-messages");
  setText(line, text);
  line.hidden = !text;
  const print = JSON.stringify([id, suppressedCommands(id), steps]);
  if (print === drawn) return;
  drawn = print;
  if (steps.length) diagram(byId("order-diagram"), id, steps);
  else fill(byId("order-diagram"));
}

/** @param {Detail} now */
function actions({ id, order }) {
  const [again, stop] = [byId("order-again"), byId("order-cancel")];
  again.onclick = () => void repeat(id);
  stop.onclick = () => void withdraw(id);
  again.hidden = !order.value;
  stop.hidden = !order.value || isFinal(order.value.status);
}

/**
 * Sends the open order again, like a client whose response was lost.
 *
 * @param {string} id
 */
async function repeat(id) {
  const order = detail.value?.order.value;
  if (!order || order.orderId !== id) return;
  const { orderId, customerId, currency, items } = order;
  const setText = outcome.begin("Sending …");
  try {
    const { suppressed } = await placeTimes({ orderId, customerId, currency, items }, 1);
    const by = suppressed ? "the stream" : "order-service";
    setText(false, `Sent again with the same id: ${by} ignores the duplicate.`);
  } catch (error) {
    setText(true, `Not accepted: ${reason(error)}`);
  }
}

/** @param {string} id */
async function withdraw(id) {
  const setText = outcome.begin("Sending …");
  try {
    await cancel(id);
    setText(false, "Cancellation requested. The status shows whether it was in time.");
  } catch (error) {
    setText(true, `Not accepted: ${reason(error)}`);
  }
  refreshOrders();
}
