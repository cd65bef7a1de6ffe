// Placing orders. The client makes up an order's id before it sends: whatever is lost on the way, the same request can be
// sent again, and means the same order.

/** @import {NewOrder, Page, Product} from "../types.js" */

import { send, write } from "../lib/api.js";
import { readFrom } from "../model.js";

/** How many requests are under way at a time: what the two feeds leave of the connections to one server. */
const AT_ONCE = 4;
/** What an order's id is made of: no letters or digits that look alike. */
const DEAD_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/** How many orders are remembered for their suppressed duplicates. */
const REMEMBERED = 100;

/** @type {Map<string, number>} how many commands of an order the stream ignored, as the answers to this page said */
const suppressedOf = new Map();

/**
 * Returns how many commands of an order the stream is known to have ignored as duplicates.
 *
 * @param {string} orderId
 */
export function suppressedCommands(orderId) {
  return suppressedOf.get(orderId) ?? 0;
}

/** The customers that the demo begins with. */
export const CUSTOMERS = ["CUSTOMER_001", "CUSTOMER_002"];

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(7));
  return `ORDER_${[...bytes].map((byte) => DEAD_LETTERS[byte % DEAD_LETTERS.length]).join("")}`;
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
 * Sends an order, and tells whether its command was in the stream already.
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
 * Sends the same order several times at once.
 *
 * @param {NewOrder} order
 * @param {number} times
 */
export async function placeTimes(order, times) {
  const answers = await Promise.all(Array.from({ length: times }, () => place(order)));
  return { sent: times, suppressed: answers.filter((answer) => answer.suppressed).length };
}

/** The product that had stock last. */
let stocked = "PRODUCT_002";

/**
 * Returns a product with at least so many units on the shelf, and restocks one where there is none.
 *
 * @param {number} units
 * @returns {Promise<{productId: string, restocked: number}>}
 */
export async function withStock(units) {
  /** @type {Page<Product> | null} */
  const page = await readFrom("inventory-service", "/products?limit=50").catch(() => null);
  // An inventory that is away is no reason not to order: whether there is stock shows when it is back.
  if (!page) return { productId: stocked, restocked: 0 };
  const [most] = [...page.items].sort((a, b) => b.available - a.available);
  const productId = most?.productId ?? stocked;
  stocked = productId;
  if (most && most.available >= units && most.backordered === 0) return { productId, restocked: 0 };
  const restocked = Math.min(1_000_000, units + (most?.backordered ?? 0) + 10);
  await restock(productId, restocked);
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
 * Places so many orders of one cent each, several at a time, and tells how far it has come.
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
