// The panel of the map: the drawing, the animated messages, the latest messages, and the number of omitted ones.

/** @import {OverviewMessage, OverviewSample} from "../types.js" */

import { byId, el, fill, keyed, setText, set } from "../lib/dom.js";
import { clock, compact, count, duration, rate, messageTitle } from "../lib/format.js";
import { shortName, tone } from "../lib/services.js";
import { describe } from "../lib/reading.js";
import { overview, flowing, pendingOf, reach, sample } from "../model.js";
import { open } from "../orders/detail.js";
import { layout } from "./layout.js";
import { OverviewMap } from "./map.js";
import { Travel } from "./travel.js";

/** How many of the newest messages are listed. */
const LISTED = 7;
/** From the first rate on, in messages per second, the map shows rates only, until the rate is below the second one. */
const RATES = { above: 60, below: 35 };
/** The time window of message counts, in milliseconds. */
const WINDOW = 2000;

/** Draws the map, and keeps it up to date. */
export function mountOverview() {
  const root = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (byId("map-drawing")));
  const canvas = /** @type {HTMLCanvasElement} */ (byId("map-travel"));
  const stage = byId("map-stage");
  const map = new OverviewMap(root);
  const travel = new Travel(canvas);
  let width = 0;
  new ResizeObserver(() => {
    const now = Math.floor(stage.clientWidth);
    if (now === width || now === 0) return;
    width = now;
    const places = layout(width);
    map.fit(places);
    travel.fit(places);
  }).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => travel.recolour());
  document.addEventListener("themechange", () => travel.recolour());

  const counted = new Counted();
  let rates = false;
  const assess = () => {
    rates = counted.perSecond() > (rates ? RATES.below : RATES.above);
    stage.classList.toggle("rates", rates);
    caption(counted, rates, travel.moves);
  };
  sample.watch((messages) => {
    counted.add(messages);
    assess();
    if (rates) travel.clear();
    else travel.send(messages.messages);
    list(messages.messages);
  });
  flowing.watch((open) => {
    stage.classList.toggle("disconnected", !open);
    assess();
  });
  // After the last message only the state arrives, each second.
  overview.watch(() => {
    assess();
    figures();
  });
}

/** The messages of the window: how many there were, and how many of them the feed contained. */
class Counted {
  constructor() {
    /** @type {{at: number, seen: number, shown: number}[]} */
    this.samples = [];
  }

  /** @param {OverviewSample} messages */
  add(messages) {
    const now = performance.now();
    if (messages.seen) this.samples.push({ at: now, seen: messages.seen, shown: messages.shown });
    this.sum();
  }

  sum() {
    const since = performance.now() - WINDOW;
    while (this.samples[0] && this.samples[0].at < since) this.samples.shift();
    return this.samples.reduce((sum, one) => ({ seen: sum.seen + one.seen, shown: sum.shown + one.shown }), {
      seen: 0,
      shown: 0,
    });
  }

  perSecond() {
    return (this.sum().seen * 1000) / WINDOW;
  }
}

/**
 * Describes which messages are shown.
 *
 * @param {Counted} counted
 * @param {boolean} rates
 * @param {boolean} moves whether a message moves on the map
 */
function caption(counted, rates, moves) {
  set(byId("overview"), { "data-condition": overview.condition });
  const { seen, shown } = counted.sum();
  const part = `a sample, ${count(shown)} of the ${count(seen)} of the last 2 s`;
  const sampled = shown < seen ? part : "every message";
  setText(byId("map-caption"), text());

  function text() {
    if (!overview.isCurrent) return describe(overview);
    if (!flowing.value) return "The feed of messages is interrupted. The dashboard reconnects automatically.";
    if (rates)
      return `Too many to follow one by one: ${compact(counted.perSecond())} messages per second. The wires show rates; below: ${sampled}.`;
    if (seen) return `Shown: ${sampled}.${slowed()}`;
    if (moves) return `No new messages in the last 2 s.${slowed()}`;
    const next = reach.isCurrent && reach.value.state === "live" ? " Place an order." : "";
    return `No messages in the last 2 s.${next}`;
  }
}

/** The animation is slower than the messages; with reduced motion there is none. */
function slowed() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches
    ? " An order’s own diagram has the times."
    : " Each hop is slowed down to be seen; an order’s own diagram has the real times.";
}

/** @param {number | null} milliseconds */
function latency(milliseconds) {
  return milliseconds === null ? "–" : duration(milliseconds);
}

/** The figures above the map: current, or a dash. */
function figures() {
  const state = overview.isCurrent ? overview.value : null;
  const { p50, p99 } = state?.orders.latencyMilliseconds ?? { p50: null, p99: null };
  const pending = state ? state.services.reduce((sum, service) => sum + pendingOf(service), 0) : 0;
  setText(byId("figure-rate"), state ? rate(state.orders.placedPerSecond) : "–");
  setText(byId("figure-p50"), latency(p50));
  setText(byId("figure-p99"), latency(p99));
  setText(byId("figure-pending"), state ? compact(pending) : "–");
  byId("figure-pending")
    .closest(".figure")
    ?.classList.toggle("warn", pending > 20);
}

/** @type {OverviewMessage[]} */
let newest = [];

/** @param {OverviewMessage[]} messages */
function list(messages) {
  if (!messages.length) return;
  newest = [...messages.slice(-LISTED).reverse(), ...newest].slice(0, LISTED);
  keyed(
    byId("map-messages"),
    newest,
    (message) => `${message.stream} ${message.sequence}`,
    row,
    () => {},
  );
}

/** @param {OverviewMessage} message */
function row(message) {
  const about =
    message.subject.startsWith("order.") ||
    /^(payment|inventory\.event\.(?!restocked))/.test(message.subject);
  const to = message.to.map(shortName).join(", ");
  const item = el("li", { class: `message ${tone(message.subject)}` });
  fill(
    item,
    el("time", { datetime: message.time }, clock(message.time)),
    el("span", { class: "what" }, messageTitle(message.type)),
    about
      ? el("button", { type: "button", class: "key", onclick: () => open(message.key) }, message.key)
      : el("span", { class: "key" }, message.key),
    el("span", { class: "who" }, `${shortName(message.source)} → ${to || "no consumers"}`),
  );
  return item;
}
