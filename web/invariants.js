// The invariants, computed by the services and not by the dashboard.

/** @import {Check} from "./types.js" */

import { byId, el, fill, keyed, setText, set } from "./lib/dom.js";
import { ago, count, lasting } from "./lib/format.js";
import { describe } from "./lib/reading.js";
import { invariants } from "./model.js";
import { open } from "./orders/detail.js";

/** How many violations and unfinished orders are listed per check. */
const LISTED = 4;

/** @typedef {"pass" | "fail" | "unknown"} Status */

/** Shows the checks, and their age. */
export function mountInvariants() {
  setText(byId("invariants-curl"), `curl ${location.host}/invariants`);
  invariants.watch(show);
}

function show() {
  headline();
  const board = invariants.value;
  if (board) keyed(byId("invariants-list"), board.checks, (check) => check.name, row, update);
}

/**
 * The current status of a check; unknown if the result is not current.
 *
 * @param {Check} check
 * @returns {Status}
 */
function statusOf({ status }) {
  return invariants.isCurrent ? status : "unknown";
}

function headline() {
  const board = invariants.value;
  const checks = board?.checks ?? [];
  const number = (/** @type {Status} */ status) =>
    checks.filter((check) => statusOf(check) === status).length;
  const [failed, unknown] = [number("fail"), number("unknown")];
  const status = failed ? "fail" : unknown || !checks.length ? "unknown" : "pass";
  set(byId("invariants"), { "data-status": status, "data-condition": invariants.condition });
  setText(byId("invariants-title"), title(checks.length, failed, unknown));
  setText(byId("invariants-at"), board ? `checked ${ago(board.checkedAt)}` : "");
}

/**
 * @param {number} all
 * @param {number} failed
 * @param {number} unknown
 */
function title(all, failed, unknown) {
  if (!all || !invariants.isCurrent) return describe(invariants) || "Unknown";
  const rest = unknown ? `, ${unknown} unknown` : "";
  if (failed) return `${failed} of ${all} ${failed === 1 ? "fails" : "fail"}${rest}`;
  if (unknown === all) return `Unknown: ${all} of ${all} checks cannot run`;
  return `${all - unknown} of ${all} checks pass${rest}`;
}

/** @param {Check} check */
function row(check) {
  return el(
    "li",
    { "data-check": check.name },
    el("span", { class: "verdict", "aria-hidden": "true" }),
    el("div", {}, el("h3", {}, check.title), el("p", { class: "detail" }), el("ul", { class: "cases" })),
  );
}

/**
 * @param {HTMLElement} element
 * @param {Check} check
 */
function update(element, check) {
  const status = statusOf(check);
  set(element, { "data-status": status });
  const [title, detail, cases] = [
    element.querySelector("h3"),
    element.querySelector(".detail"),
    element.querySelector(".cases"),
  ];
  if (!title || !detail || !cases) return;
  const verb = { pass: "passes", fail: "fails", unknown: "is unknown" }[status];
  fill(title, check.title, el("span", { class: "out-of-sight" }, ` ${verb}`));
  setText(detail, check.detail);
  keyed(
    cases,
    listed(check),
    (one) => `${one.kind} ${one.id}`,
    line,
    (item, one) => {
      setText(/** @type {Element} */ (item.lastElementChild), one.text);
    },
  );
}

/** @typedef {{id: string, key: string, text: string, kind: "broken" | "waiting" | "quiet"}} Line */

/**
 * The violations and unfinished orders of a check: the first with their keys, the others counted.
 *
 * @param {Check} check
 * @returns {Line[]}
 */
function listed({ violations, waiting, total, waitingTotal }) {
  /** @type {Line[]} */
  const lines = violations.map((one) => ({
    id: one.id,
    key: one.key,
    text: one.explanation,
    kind: "broken",
  }));
  for (const one of waiting) {
    const text = `waits for ${one.what}, for ${lasting(one.since, invariants.until)}`;
    lines.push({ id: one.key, key: one.key, text, kind: "waiting" });
  }
  const all = total + waitingTotal;
  const named = lines.slice(0, LISTED);
  if (all > named.length)
    named.push({ id: "", key: "", text: `and ${count(all - named.length)} more`, kind: "quiet" });
  return named;
}

/** @param {Line} one */
function line(one) {
  return el(
    "li",
    { class: one.kind },
    one.key && name(one.key, one.kind === "waiting"),
    one.key && " ",
    el("span", {}),
  );
}

/**
 * @param {string} key
 * @param {boolean} isOrder
 */
function name(key, isOrder) {
  if (!isOrder && !key.startsWith("ORDER_")) return el("b", {}, key);
  return el("button", { type: "button", class: "key", onclick: () => open(key) }, key);
}
