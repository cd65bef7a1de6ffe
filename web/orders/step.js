// What there is to say about one message of a timeline.

/** @import {Step} from "../types.js" */

import { said } from "../lib/format.js";
import { tone } from "../lib/services.js";

/** @type {Record<string, string>} */
const HEARINGS = {
  handled: "handled",
  pending: "not handled yet",
  "given-up": "given up: a dead letter",
  redriven: "was a dead letter, and handled after all",
  discarded: "a dead letter that was discarded",
  unknown: "unknown: the service does not answer",
};

/** @param {string} hearing */
export function heardAs(hearing) {
  return HEARINGS[hearing] ?? hearing;
}

/** @param {Step} step */
export function speaker(step) {
  return step.source?.replace(/^\//, "") ?? "";
}

/** @param {Step} step */
export function title(step) {
  if (step.stream !== "TIMERS") return said(step.subject);
  return `${said(step.subject)} ${step.subject.includes(".timer.") ? "is due" : (step.note ?? "")}`;
}

/** @param {Step} step */
export function kindOf(step) {
  return step.stream === "TIMERS" ? "timer" : tone(step.subject);
}
