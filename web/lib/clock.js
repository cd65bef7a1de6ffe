// The gateway's time: ages are measured by the clock that wrote the times, because the browser's clock may be wrong.

/** The slowest response that is used, in milliseconds: the `Date` header of a slower one is too old. */
const PROMPT = 500;
/** A difference below this is within the accuracy of the `Date` header, in milliseconds. */
const TOLERANCE = 1500;

/** How far the gateway's clock is ahead of the browser's, in milliseconds. */
let ahead = 0;

/** The present by the gateway's clock, in milliseconds since 1970. */
export function now() {
  return Date.now() + ahead;
}

/**
 * Learns the gateway's time from a response.
 *
 * @param {Response} response
 * @param {number} sent when the request was sent, by the browser's clock
 */
export function synchronize(response, sent) {
  const date = Date.parse(response.headers.get("date") ?? "");
  const received = Date.now();
  if (Number.isNaN(date) || received - sent > PROMPT || received < sent) return;
  // The header counts whole seconds: on average it is half a second behind.
  const measured = date + 500 - received;
  if (Math.abs(measured - ahead) > TOLERANCE) ahead = Math.abs(measured) > TOLERANCE ? measured : 0;
}
