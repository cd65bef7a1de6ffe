// The board: what must hold, checked by the services' own figures and not by this page's counting.

/** @import {Check, Invariants} from "./types.js" */

import { byId, el, fill, keyed, say, set } from "./lib/dom.js";
import { ago, count, lasting } from "./lib/format.js";
import { invariants, reach } from "./model.js";
import { open } from "./orders/detail.js";

/** How many of those that break or wait are listed. */
const LISTED = 4;
/** An answer older than this says nothing of now, in milliseconds: where the gateway is away, and in any case. */
const OLD = { away: 8000, always: 30_000 };

/** Shows the board, and keeps saying how old it is. */
export function mountInvariants() {
  say(byId("invariants-curl"), `curl ${location.host}/invariants`);
  invariants.watch(show);
  reach.watch(() => headline(invariants.value));
  setInterval(() => headline(invariants.value), 1000);
}

/** @param {Invariants | null} board */
function show(board) {
  headline(board);
  if (!board) return;
  keyed(byId("invariants-list"), board.checks, (check) => check.name, row, update);
}

/** @param {Invariants | null} board */
function headline(board) {
  const panel = byId("invariants");
  const age = board ? Date.now() - Date.parse(board.at) : Infinity;
  const old = age > (reach.value.state === "live" ? OLD.always : OLD.away);
  const broken = board?.checks.filter((check) => check.holds === false) ?? [];
  const untold = board?.checks.filter((check) => check.holds === null) ?? [];
  const state = !board || old ? "untold" : broken.length ? "broken" : untold.length ? "untold" : "good";
  set(panel, { "data-state": state });
  const title = !board
    ? "Looking …"
    : old
      ? "Nothing is known of now"
      : broken.length
        ? `${broken.length} of ${board.checks.length} broken`
        : untold.length
          ? `Nothing is broken; ${untold.length} of ${board.checks.length} cannot be told now`
          : `All ${board.checks.length} hold`;
  say(byId("invariants-title"), title);
  say(byId("invariants-at"), board ? `checked ${ago(board.at)}` : "");
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
  const state = check.holds === null ? "untold" : check.holds ? "good" : "broken";
  set(element, { "data-holds": state });
  const [title, detail, cases] = [
    element.querySelector("h3"),
    element.querySelector(".detail"),
    element.querySelector(".cases"),
  ];
  if (!title || !detail || !cases) return;
  const said = { good: "holds", broken: "is broken", untold: "cannot be told now" }[state];
  fill(title, check.title, el("span", { class: "out-of-sight" }, ` ${said}`));
  say(detail, check.detail);
  const broken = check.broken.map((one) => ({ key: one.key, text: one.explanation, kind: "broken" }));
  const waiting = check.waiting.map((one) => {
    return { key: one.key, text: `waits for ${one.what}, for ${lasting(one.since)}`, kind: "waiting" };
  });
  const all = [...broken, ...waiting];
  const listed = all.slice(0, LISTED);
  if (all.length > LISTED)
    listed.push({ key: "", text: `and ${count(all.length - LISTED)} more`, kind: "quiet" });
  keyed(
    cases,
    listed,
    (one) => `${one.kind} ${one.key}`,
    (one) =>
      el(
        "li",
        { class: one.kind },
        one.key && name(one.key, one.kind === "waiting"),
        one.key && " ",
        el("span", {}),
      ),
    (line, one) => say(/** @type {Element} */ (line.lastElementChild), one.text),
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
