// Asking the gateway, and what it says when it cannot.

/** @import {Problem} from "../types.js" */

/** The longest an answer may take, in milliseconds. */
const PATIENCE = 8000;

/** What went wrong: a problem of the gateway's, or no answer at all (status 0). */
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
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE), ...options });
  } catch {
    throw new Failure(0, "away", "The gateway does not answer.");
  }
  const text = await response.text().catch(() => "");
  /** @type {any} */
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    if (response.ok && text) throw new Failure(response.status, "unreadable", "The answer is no JSON.");
  }
  if (!response.ok) {
    const problem = /** @type {Partial<Problem> | null} */ (body);
    const detail = problem?.detail ?? problem?.title ?? `The answer was ${response.status}.`;
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
  return (await send(path)).body;
}

/**
 * Like `get`, with null for what does not exist.
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
