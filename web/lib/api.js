// Requests to the gateway, and their errors.

/** @import {Problem} from "../types.js" */

import { synchronize } from "./clock.js";

/** How long a response may take, in milliseconds. */
const TIMEOUT = 8000;
/**
 * How many reads run at a time. A browser opens six connections to one server: two are the feeds', and one stays free
 * for readiness and commands, however long the reads take.
 */
const MAX_READS = 3;

let reads = 0;
/** @type {(() => void)[]} */
const queued = [];

/** An error: a problem of the gateway's, or no response at all (status 0). */
export class Failure extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * Sends a request and reads its JSON.
 *
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<{body: any, response: Response}>}
 */
export async function send(path, options = {}) {
  /** @type {Response} */
  let response;
  const sent = Date.now();
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT), ...options });
  } catch {
    throw new Failure(0, "unreachable", "the gateway is unreachable");
  }
  synchronize(response, sent);
  const text = await response.text().catch(() => "");
  /** @type {any} */
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    if (response.ok && text)
      throw new Failure(response.status, "unreadable", "The response is not valid JSON.");
  }
  if (!response.ok) {
    const problem = /** @type {Partial<Problem> | null} */ (body);
    const detail = problem?.detail ?? problem?.title ?? `The response was ${response.status}.`;
    throw new Failure(response.status, problem?.code ?? "failed", detail);
  }
  return { body, response };
}

/**
 * @template T
 * @param {string} path
 * @returns {Promise<T>}
 */
export async function get(path) {
  if (reads >= MAX_READS) await new Promise((resolve) => queued.push(() => resolve(null)));
  reads += 1;
  try {
    return (await send(path)).body;
  } finally {
    reads -= 1;
    queued.shift()?.();
  }
}

/**
 * Like `get`, with null for 404.
 *
 * @template T
 * @param {string} path
 * @returns {Promise<T | null>}
 */
export async function find(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Failure && error.status === 404) return null;
    throw error;
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} body
 * @param {Record<string, string>} [headers]
 */
export function write(method, path, body, headers = {}) {
  return send(path, {
    method,
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/** @param {unknown} error */
export function reason(error) {
  return error instanceof Error ? error.message : String(error);
}
