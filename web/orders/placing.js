// Placing orders. The client generates an order's id before it sends. So it can repeat the request after any failure,
// and the request still means the same order.

/** @import {NewOrder, Page, Product} from "../types.js" */

import { send, write } from "../lib/api.js";
import { readFrom } from "../model.js";

/** How many requests run at a time: the connections to one server minus the two feeds. */
const AT_ONCE = 4;
/** The characters of an order's id: no letters or digits that look alike. */
const ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/** How many orders with suppressed duplicates are kept. */
const REMEMBERED = 100;

/** @type {Map<string, number>} how many commands of an order the stream ignored, from the responses to this dashboard */
const suppressedOf = new Map();

/**
 * Returns how many commands of an order the stream is known to have ignored as duplicates.
 *
 * @param {string} orderId
 */
export function suppressedCommands(orderId) {
  return suppressedOf.get(orderId) ?? 0;
}

/** The customers of the demo's initial data. */
export const CUSTOMERS = ["CUSTOMER_001", "CUSTOMER_002"];

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(7));
  return `ORDER_${[...bytes].map((byte) => ALPHABET[byte % ALPHABET.length]).join("")}`;
}

/**
 * @param {string} customerId
 * @param {string} productId
 * @param {number} quantity
 * @param {number} unitPrice
 * @returns {NewOrder}
 */
export function anOrder(customerId, productId, quantity, unitPrice) {
  return { orderId: newId(), customerId, currency: "EUR", items: [{ productId, quantity, unitPrice }] };
}

/**
 * Sends an order, and returns whether the stream had its command already.
 *
 * @param {NewOrder} order
 */
export async function place(order) {
  const { body, response } = await write("POST", "/orders", order);
  const suppressed = response.headers.get("idempotent-replayed") === "true";
  if (suppressed) remember(order.orderId);
  return {
    suppressed,
    durability: String(body?.durability ?? ""),
  };
}

/** @param {string} orderId */
function remember(orderId) {
  suppressedOf.set(orderId, suppressedCommands(orderId) + 1);
  const oldest = suppressedOf.keys().next().value;
  if (suppressedOf.size > REMEMBERED && oldest) suppressedOf.delete(oldest);
}

/**
 * Sends the same order several times concurrently.
 *
 * @param {NewOrder} order
 * @param {number} times
 */
export async function placeTimes(order, times) {
  const responses = await Promise.all(Array.from({ length: times }, () => place(order)));
  return { sent: times, suppressed: responses.filter((response) => response.suppressed).length };
}

/** The maximum number of units of one restock that the gateway accepts. */
const MAX_RESTOCK = 12_000;

/** The last product with stock. */
let stocked = "PRODUCT_002";

/**
 * Returns a product with at least `units` available, and restocks one if there is none.
 *
 * @param {number} units
 * @returns {Promise<{productId: string, restocked: number}>}
 */
export async function withStock(units) {
  /** @type {Page<Product> | null} */
  const page = await readFrom("inventory-service", "/products?limit=50").catch(() => null);
  // If the inventory is down, ordering is still possible; the order shows later whether there was stock.
  if (!page) return { productId: stocked, restocked: 0 };
  const [best] = [...page.items].sort((a, b) => b.available - a.available);
  const productId = best?.productId ?? stocked;
  stocked = productId;
  if (best && best.available >= units && best.backordered === 0) return { productId, restocked: 0 };
  const restocked = units + (best?.backordered ?? 0) + 10;
  for (let left = restocked; left > 0; left -= MAX_RESTOCK)
    await restock(productId, Math.min(left, MAX_RESTOCK));
  return { productId, restocked };
}

/**
 * @param {string} productId
 * @param {number} quantity
 */
export function restock(productId, quantity) {
  const key = `"${crypto.randomUUID()}"`;
  const path = `/products/${encodeURIComponent(productId)}/restock`;
  return write("POST", path, { quantity }, { "idempotency-key": key });
}

/**
 * Places orders of one cent each, several at a time, and reports the progress.
 *
 * @param {number} number
 * @param {(placed: number, failed: number) => void} onProgress
 * @param {AbortSignal} stop
 */
export async function burst(number, onProgress, stop) {
  const { productId } = await withStock(number);
  let [next, placed, failed] = [0, 0, 0];
  const worker = async () => {
    while (next < number && !stop.aborted) {
      next += 1;
      try {
        await place(anOrder("CUSTOMER_001", productId, 1, 1));
        placed += 1;
      } catch {
        failed += 1;
        if (failed > 20) return;
      }
      onProgress(placed, failed);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return { placed, failed };
}

/** @param {string} orderId */
export function cancel(orderId) {
  return send(`/orders/${encodeURIComponent(orderId)}/cancel`, { method: "POST" });
}

/** @param {string} status */
export function isFinal(status) {
  return status === "confirmed" || status === "cancelled";
}
