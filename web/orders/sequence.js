// The sequence diagram of one order: one line per message, from its producer to its consumers. Each line is a button
// that opens the message.

/** @import {Consumer, Step} from "../types.js" */

import { el, fill, svg } from "../lib/dom.js";
import { between, capital, clock, duration, several } from "../lib/format.js";
import { shortName } from "../lib/services.js";
import { openMessage } from "./message.js";
import { suppressedCommands } from "./placing.js";
import { statusText, isPlacing, kindOf, producer, title } from "./step.js";

/** The lifelines, in the usual order of processing. */
const LINES = [
  "api-gateway",
  "order-service",
  "inventory-service",
  "payment-service",
  "notification-service",
];
/** The maximum number of drawn messages; a timeline has up to 500 per stream. */
const DRAWN = 80;

/**
 * Draws the diagram.
 *
 * @param {HTMLElement} place
 * @param {string} orderId
 * @param {Step[]} steps
 */
export function diagram(place, orderId, steps) {
  // A redraw must not remove the keyboard focus.
  const focused =
    document.activeElement instanceof HTMLElement ? document.activeElement.dataset.message : undefined;
  const lines = [...LINES, ...others(steps)];
  const first = steps[0]?.time ?? "";
  const shown = steps.slice(0, DRAWN);
  const left = steps.length - shown.length;
  fill(
    place,
    head(lines),
    el("ol", { class: "steps" }, ...shown.map((step) => row(orderId, step, steps, lines, first))),
    left > 0 && el("p", { class: "quiet" }, `Showing the first ${DRAWN} of ${steps.length} messages.`),
    legend(orderId, steps),
  );
  if (focused)
    place.querySelector(`[data-message="${CSS.escape(focused)}"]`)?.dispatchEvent(new Event("refocus"));
}

/** @param {Step[]} steps */
function others(steps) {
  const names = steps.flatMap((step) => [
    producer(step),
    ...step.consumers.map((consumer) => consumer.service),
  ]);
  return [...new Set(names)].filter((name) => name && !LINES.includes(name)).slice(0, 2);
}

/** @param {string[]} lines */
function head(lines) {
  const names = lines.map((name) =>
    el(
      "span",
      {},
      el("span", { class: "wide" }, capital(shortName(name))),
      el("span", { class: "tight" }, abbreviated(name)),
    ),
  );
  return el(
    "div",
    { class: "lifelines", "aria-hidden": "true" },
    el("span", { class: "gap" }),
    el("div", { class: "names" }, ...names),
  );
}

/** @param {string} name */
function abbreviated(name) {
  return capital(shortName(name).slice(0, 3));
}

/**
 * @param {string} orderId
 * @param {Step} step
 * @param {Step[]} steps
 * @param {string[]} lines
 * @param {string} first
 */
function row(orderId, step, steps, lines, first) {
  const sinceFirst = between(first, step.time);
  const kind = kindOf(step);
  const button = el(
    "button",
    {
      type: "button",
      class: `step ${kind}`,
      "data-message": `${step.stream} ${step.sequence}`,
      onclick: () => openMessage(orderId, step, steps),
      onrefocus: (/** @type {Event} */ event) =>
        /** @type {HTMLElement} */ (event.target).focus({ preventScroll: true }),
    },
    el(
      "span",
      { class: "when", title: clock(step.time) },
      sinceFirst === 0 ? clock(step.time) : `+${duration(sinceFirst)}`,
    ),
    el(
      "span",
      { class: "line" },
      lanes(lines),
      naming(orderId, step, lines),
      marks(step, lines, kind),
      el("span", { class: "out-of-sight" }, description(step)),
    ),
  );
  return el("li", {}, button);
}

/**
 * The name of a message, above its arrow: at the arrow's start, or at its end if there is more space.
 *
 * @param {string} orderId
 * @param {Step} step
 * @param {string[]} lines
 */
function naming(orderId, step, lines) {
  const name = el(
    "span",
    { class: "name" },
    el("span", { class: "what" }, title(step)),
    ...badges(orderId, step),
  );
  const places = [producer(step), ...step.consumers.map((consumer) => consumer.service)].map((who) =>
    placeOf(who, lines),
  );
  const known = places.filter((place) => place >= 0);
  const [min, max] = [Math.min(...known, 1), Math.max(...known, 0)];
  if (min <= 0.5) name.style.paddingInlineStart = `calc(${min * 100}% + 2px)`;
  else {
    name.style.paddingInlineEnd = `calc(${(1 - max) * 100}% + 2px)`;
    name.style.justifyContent = "end";
  }
  return name;
}

/**
 * The position of a lifeline, as a fraction of the width; -1 if there is none.
 *
 * @param {string} name
 * @param {string[]} lines
 */
function placeOf(name, lines) {
  const index = lines.indexOf(name);
  return index < 0 ? -1 : (index + 0.5) / lines.length;
}

/**
 * @param {string} orderId
 * @param {Step} step
 */
function badges(orderId, step) {
  /** @type {HTMLElement[]} */
  const badges = [];
  const add = (/** @type {string} */ kind, /** @type {string} */ text) =>
    badges.push(el("span", { class: `badge ${kind}` }, text));
  const suppressed = isPlacing(step) ? suppressedCommands(orderId) : 0;
  if (suppressed) add("again", `${several(suppressed, "duplicate")} ignored by the stream`);
  for (const { service, status, duplicates, failures } of step.consumers) {
    const who = shortName(service);
    if (duplicates) add("again", `${who} ignored ${several(duplicates, "duplicate")}`);
    if (failures) add("failed", `${who} failed ${failures}×`);
    if (status === "dead-lettered") add("dead", `${who} dead-lettered it`);
    if (status === "redriven") add("again", `${who} redriven`);
    if (status === "pending") add("pending", `pending for ${who}`);
    if (status === "unknown") add("pending", `${who}: no response`);
  }
  if (step.note && step.stream !== "TIMERS") add("note", step.note);
  return badges;
}

/**
 * The arrow as text, for screen readers.
 *
 * @param {Step} step
 */
function description(step) {
  const received = step.consumers.map((consumer) => `${consumer.service}: ${statusText(consumer.status)}`);
  return `published by ${producer(step) || "?"}. ${received.join("; ") || "No consumers"}. Opens the message.`;
}

/** @param {string[]} lines */
function lanes(lines) {
  const drawn = svg("svg", {
    viewBox: "0 0 100 1",
    preserveAspectRatio: "none",
    class: "lanes",
    "aria-hidden": "true",
  });
  for (const name of lines) {
    const x = placeOf(name, lines) * 100;
    drawn.append(svg("line", { class: "lane", x1: x, x2: x, y1: 0, y2: 1 }));
  }
  return drawn;
}

/**
 * The arrow from the producer to every consumer.
 *
 * @param {Step} step
 * @param {string[]} lines
 * @param {string} kind
 */
function marks(step, lines, kind) {
  const marks = el("span", { class: `marks ${kind}` });
  const from = placeOf(producer(step), lines);
  if (from < 0) return marks;
  const put = (/** @type {string} */ name, /** @type {number} */ left, /** @type {number} */ width) => {
    const mark = el("span", { class: name });
    mark.style.left = `${left * 100}%`;
    if (width) mark.style.width = `${width * 100}%`;
    marks.append(mark);
  };
  for (const { service, status } of step.consumers) {
    const to = placeOf(service, lines);
    if (to < 0) continue;
    put(`arrow-line ${status}`, Math.min(from, to), Math.abs(to - from));
    put(`mark target ${status} ${to > from ? "right" : to < from ? "left" : "self"}`, to, 0);
  }
  put("mark source", from, 0);
  return marks;
}

/**
 * The counts of known events only: a stream does not count the duplicates that it ignores, and a service that is
 * unavailable cannot report a failed attempt.
 *
 * @param {string} orderId
 * @param {Step[]} steps
 */
function legend(orderId, steps) {
  const ignored = sum(steps, (consumer) => consumer.duplicates) + suppressedCommands(orderId);
  const failures = sum(steps, (consumer) => consumer.failures);
  const dead = sum(steps, ({ status }) =>
    ["dead-lettered", "redriven", "deleted"].includes(status) ? 1 : 0,
  );
  const parts = [
    several(steps.length, "message"),
    ignored && `${several(ignored, "duplicate")} ignored`,
    failures && several(failures, "failed attempt"),
    dead && `${dead} dead-lettered`,
  ].filter(Boolean);
  return el("p", { class: "quiet sums" }, parts.join(" · "));
}

/**
 * @param {Step[]} steps
 * @param {(consumer: Consumer) => number} of
 */
function sum(steps, of) {
  return steps.reduce(
    (all, step) => all + step.consumers.reduce((more, consumer) => more + of(consumer), 0),
    0,
  );
}
