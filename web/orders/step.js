// The texts for one message of a timeline.

/** @import {Step} from "../types.js" */

import { messageTitle } from "../lib/format.js";
import { tone } from "../lib/services.js";

/** @type {Record<string, string>} */
const STATUSES = {
  handled: "handled",
  pending: "not handled yet",
  "dead-lettered": "dead-lettered",
  redriven: "dead-lettered, redriven, and handled",
  deleted: "dead-lettered, and deleted by an operator",
  unknown: "unknown: no response",
};

/** @param {string} status */
export function statusText(status) {
  return STATUSES[status] ?? status;
}

/** @param {Step} step */
export function producer(step) {
  return step.source?.replace(/^\//, "") ?? "";
}

/** @param {Step} step */
export function title(step) {
  if (step.stream !== "TIMERS") return messageTitle(step.subject);
  return `${messageTitle(step.subject)} ${step.subject.includes(".timer.") ? "is due" : (step.note ?? "")}`;
}

/** @param {Step} step */
export function kindOf(step) {
  return step.stream === "TIMERS" ? "timer" : tone(step.subject);
}

/**
 * Whether a message is the command that creates the order.
 *
 * @param {Step} step
 */
export function isPlacing(step) {
  return step.subject.startsWith("order.command.place.");
}
