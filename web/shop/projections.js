// The read models, with their progress. Only if the gateway serves the operations.

/** @import {Projection} from "../types.js" */

import { Failure, reason, send } from "../lib/api.js";
import { byId, el, keyed, setText } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { Outcome } from "../lib/outcome.js";
import { poll } from "../lib/poll.js";
import { Reading, showCondition } from "../lib/reading.js";
import { config, readFrom } from "../model.js";
import { change } from "./cells.js";

/** @type {Reading<Projection[]>} */
const projections = new Reading(/** @type {Projection[]} */ ([]));

export function mountProjections() {
  byId("projections").hidden = !config.operations;
  if (!config.operations) return;
  const polling = poll(() => projections.read(query), 1000);
  const outcome = new Outcome(byId("projections-outcome"));
  projections.watch(({ value }) => {
    const empty = value.length ? "" : "No projections.";
    showCondition(byId("projections"), byId("projections-condition"), projections, empty);
    keyed(byId("projections-rows"), value, name, (one) => row(one, outcome, polling), update);
  });
}

/** @returns {Promise<Projection[]>} */
async function query() {
  /** @type {{projections: Projection[], unavailable: string[]} | null} */
  const found = await readFrom("projection-service", "/operations/projections");
  if (!found || found.unavailable.length)
    throw new Failure(503, "unavailable", found?.unavailable[0] ?? "unavailable");
  return found.projections;
}

/** @param {Projection} one */
function name(one) {
  return `${one.name}-v${one.version}`;
}

/**
 * @param {Projection} one
 * @param {Outcome} outcome
 * @param {{now: () => void}} polling
 */
function row(one, outcome, polling) {
  const id = name(one);
  /** @param {string} action */
  const act = async (action) => {
    const setText = outcome.begin(`${id}: ${action} …`);
    try {
      await send(`/operations/projections/${id}/${action}`, { method: "POST" });
      setText(false, `${id}: ${action} is done.`);
    } catch (error) {
      setText(true, `${id}: ${reason(error)}`);
    }
    polling.now();
  };
  const toggle = el("button", { type: "button", class: "small toggle" }, "Pause");
  toggle.addEventListener("click", () => void act(toggle.dataset.action ?? "pause"));
  const rebuild = el("button", { type: "button", class: "small", "aria-label": `Rebuild ${id}` }, "Rebuild");
  rebuild.addEventListener("click", () => void act("rebuild"));
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, id),
    el("td", {}),
    el("td", { class: "number" }),
    el("td", {}, toggle, " ", rebuild),
  );
}

/**
 * @param {HTMLElement} element
 * @param {Projection} one
 */
function update(element, one) {
  const cells = element.querySelectorAll("td");
  change(cells[0], stateOf(one));
  change(cells[1], one.state === "live" || one.asOf ? count(one.lagMessages) : "–");
  const toggle = /** @type {HTMLElement | null} */ (element.querySelector(".toggle"));
  if (!toggle) return;
  const runs = one.state === "live" || one.state === "catching-up";
  toggle.dataset.action = runs ? "pause" : "start";
  setText(toggle, runs ? "Pause" : "Start");
  toggle.setAttribute("aria-label", `${runs ? "Pause" : "Start"} ${name(one)}`);
}

/** @param {Projection} one */
function stateOf({ state, historyRead, historyTotal, asOf, detail }) {
  if (detail) return `failed: ${detail}`;
  if (state !== "catching-up" || asOf || !historyTotal) return state.replace("-", " ");
  return `${Math.min(99, Math.floor((100 * historyRead) / historyTotal))} % of the history`;
}
