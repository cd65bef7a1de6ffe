// One message: its consumers, headers, and body, and the `nats` command that shows it.

/** @import {Step, StoredMessage} from "../types.js" */

import { get, reason } from "../lib/api.js";
import { byId, el, fill, setText } from "../lib/dom.js";
import { clock, duration, messageTitle, several } from "../lib/format.js";
import { Signal } from "../lib/signal.js";
import { config } from "../model.js";
import { statusText, producer } from "./step.js";

/** The number of opened messages. */
export const opened = new Signal(0);

/** The maximum length of a displayed body, in characters. */
const LONGEST = 20_000;

/** Sets up the dialog: closing, and copying the command. */
export function mountMessage() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("message"));
  byId("message-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    const box = dialog.getBoundingClientRect();
    const inside =
      event.clientX >= box.left &&
      event.clientX <= box.right &&
      event.clientY >= box.top &&
      event.clientY <= box.bottom;
    // A key that presses a button is a click without coordinates.
    if (event.target === dialog && !inside) dialog.close();
  });
  byId("message-copy").addEventListener("click", () => void copy());
}

async function copy() {
  try {
    await navigator.clipboard.writeText(byId("message-command").textContent ?? "");
    setText(byId("message-copy"), "Copied");
  } catch {
    getSelection()?.selectAllChildren(byId("message-command"));
    setText(byId("message-copy"), "Selected");
  }
}

/**
 * Opens a message of an order.
 *
 * @param {string} orderId
 * @param {Step} step
 * @param {Step[]} steps
 */
export function openMessage(orderId, step, steps) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("message"));
  setText(byId("message-title"), messageTitle(step.subject));
  setText(byId("message-subject"), step.subject);
  setText(byId("message-copy"), "Copy");
  const nats = config.natsCommand ?? "nats";
  setText(byId("message-command"), `${nats} stream get ${step.stream} ${step.sequence}`);
  fill(byId("message-facts"), ...facts(orderId, step, steps));
  fill(byId("message-consumers"), ...consumers(step));
  fill(byId("message-headers"), el("tr", {}, el("td", {}, "Reading …")));
  setText(byId("message-body"), "");
  opened.set(opened.value + 1);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  void read(orderId, step);
}

/**
 * @param {string} orderId
 * @param {Step} step
 * @param {Step[]} steps
 */
function facts(orderId, step, steps) {
  const cause = steps.find((other) => other.messageId && other.messageId === step.causationId);
  const value = cause
    ? el(
        "button",
        { type: "button", class: "key", onclick: () => openMessage(orderId, cause, steps) },
        messageTitle(cause.subject),
      )
    : (step.causationId ?? "none: first message of the flow");
  const rows = [
    ["Published by", producer(step) || "unknown"],
    ["Stored", `${step.stream} ${step.sequence}, ${clock(step.time)}`],
    ["Caused by", value],
    step.outboxDelayMs === null ? null : ["Publish delay", duration(step.outboxDelayMs)],
    step.note ? ["Note", step.note] : null,
  ];
  return rows.flatMap((row) => (row ? [el("div", {}, el("dt", {}, row[0]), el("dd", {}, row[1]))] : []));
}

/** @param {Step} step */
function consumers(step) {
  if (!step.consumers.length) return [el("li", {}, "No consumers.")];
  return step.consumers.map((consumer) => {
    const more = [
      consumer.at ? `at ${clock(consumer.at)}` : "",
      consumer.duplicates ? `${several(consumer.duplicates, "duplicate")} dropped` : "",
      consumer.failures ? several(consumer.failures, "failed attempt") : "",
      // A dead letter can have a reason without a failed attempt.
      consumer.failure ? `reason: ${consumer.failure}` : "",
    ].filter(Boolean);
    return el(
      "li",
      { class: `consumer ${consumer.status}` },
      el("b", {}, consumer.service),
      ` ${statusText(consumer.status)}${more.length ? `, ${more.join(", ")}` : ""}`,
    );
  });
}

/**
 * @param {string} orderId
 * @param {Step} step
 */
async function read(orderId, step) {
  const path = `/orders/${encodeURIComponent(orderId)}/messages/${step.stream}/${step.sequence}`;
  try {
    /** @type {StoredMessage} */
    const message = await get(path);
    if (byId("message-subject").textContent !== step.subject) return;
    const rows = Object.entries(message.headers).map(([name, value]) =>
      el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)),
    );
    fill(byId("message-headers"), ...rows);
    const body = typeof message.body === "string" ? message.body : JSON.stringify(message.body, null, 2);
    const cut =
      body.length > LONGEST
        ? `${body.slice(0, LONGEST)}\n… and ${body.length - LONGEST} more characters`
        : body;
    setText(byId("message-body"), cut);
  } catch (error) {
    fill(byId("message-headers"), el("tr", {}, el("td", {}, reason(error))));
  }
}
