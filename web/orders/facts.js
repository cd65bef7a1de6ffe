// The facts of one order, and its blockers, as text.

/** @import {Payment, Step, Timeline} from "../types.js" */
/** @import {Reading} from "../lib/reading.js" */
/** @import {Detail} from "./detail.js" */

import { el } from "../lib/dom.js";
import { ago, count, duration, lasting, money } from "../lib/format.js";
import { describe } from "../lib/reading.js";
import { pill } from "./pill.js";
import { isFinal } from "./placing.js";
import { isPlacing } from "./step.js";

/**
 * The facts of an order, or the reason why there are none.
 *
 * @param {Detail} now
 */
export function facts(now) {
  const order = now.order.value;
  if (!order) return [el("p", { class: "quiet" }, absent(now))];
  const items = order.items.map((item) => `${count(item.quantity)} × ${item.productId}`).join(", ");
  const lasted = Date.parse(order.updatedAt) - Date.parse(order.placedAt);
  const rows = [
    ["Status", pill(order.status, order.reason?.code)],
    ["Total", `${money(order.totalPrice, order.currency)} · ${items}`],
    ["Customer", order.customerId],
    ["Payment", payment(now.payment)],
    isFinal(order.status) ? ["Duration", duration(lasted)] : ["Placed", ago(order.placedAt)],
  ];
  if (order.reason)
    rows.splice(1, 0, ["Reason", order.reason.text || order.reason.code.replaceAll("-", " ")]);
  const list = rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  const age = describe(now.order);
  return age ? [el("p", { class: "condition" }, age), ...list] : list;
}

/** @param {Reading<Payment | null>} reading */
function payment(reading) {
  const text = reading.value
    ? `${reading.value.status.replaceAll("-", " ")}${reading.value.reason ? `: ${reading.value.reason}` : ""}`
    : "none yet";
  if (reading.isCurrent) return text;
  const age = describe(reading);
  return el("span", { class: "condition" }, reading.value ? `${text} (${age})` : age);
}

/**
 * Describes an order that order-service does not have, or has not reported.
 *
 * @param {Detail} now
 */
function absent({ id, order, timeline }) {
  if (!order.at) return order.problem ? `Status unknown: ${order.problem}` : "Loading …";
  if (!timeline.at) return timeline.problem ? `No order ${id}. Messages: ${describe(timeline)}` : "Loading …";
  const steps = timeline.value?.steps ?? [];
  const placing = steps.find(isPlacing);
  if (placing) return commanded(placing);
  const mention = steps.length ? ` ${count(steps.length)} other messages have this key.` : "";
  return `No order ${id}.${mention}`;
}

/**
 * Describes the outcome of the command that should have created the order.
 *
 * @param {Step} placing
 */
function commanded({ consumers }) {
  const consumer = consumers.find((consumer) => consumer.service === "order-service");
  const why = consumer?.failure ? `: ${consumer.failure}` : "";
  switch (consumer?.status) {
    case "pending":
      return "Command accepted. It is pending for order-service; the order does not exist yet.";
    case "dead-lettered":
      return `Command dead-lettered by order-service${why}. There is no order unless the command is redriven.`;
    case "deleted":
      return `Command dead-lettered by order-service and deleted by an operator${why}. There is no order.`;
    case "handled":
    case "redriven":
      return "order-service has handled the command, and has no order with this id.";
    default:
      return "Command accepted. Whether order-service has handled it is unknown.";
  }
}

/**
 * The blockers of an unfinished order; of a final one, the services whose handling is not confirmed.
 *
 * @param {Detail} now
 */
export function waits({ timeline, order }) {
  const lines = [];
  const found = timeline.value;
  const final = order.value !== null && isFinal(order.value.status);
  if (found?.blockedOn.length && !timeline.isCurrent)
    lines.push(el("li", { class: "condition" }, describe(timeline)));
  if (found && final) lines.push(...unconfirmed(found));
  if (found && !final) {
    for (const wait of found.blockedOn) {
      const since = wait.since ? ` · for ${lasting(wait.since, timeline.until)}` : "";
      lines.push(el("li", {}, el("b", {}, "Waiting: "), wait.what, el("span", { class: "quiet" }, since)));
    }
    if (!lines.length && order.isCurrent && order.value && timeline.isCurrent)
      lines.push(el("li", {}, "In progress."));
  }
  for (const source of found?.sources ?? []) {
    if (source.available && !source.detail) continue;
    lines.push(el("li", {}, el("b", {}, `${source.name}: `), source.detail ?? "no response"));
  }
  return lines;
}

/** @param {Timeline} timeline */
function unconfirmed({ blockedOn }) {
  const services = [...new Set(blockedOn.map((wait) => wait.service))];
  return services.map((service) => {
    const all = blockedOn.filter((wait) => wait.service === service).map((wait) => wait.what);
    return el("li", { title: all.join("\n") }, el("b", {}, "Not confirmed as handled by: "), service);
  });
}
