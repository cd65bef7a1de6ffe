// Polling while the document is visible.

/**
 * Calls a function at once, and again `milliseconds` after each call has ended, while the document is visible. Errors
 * are the caller's to show; polling continues after them.
 *
 * @param {() => Promise<void>} read
 * @param {number} milliseconds
 * @returns {{now: () => void, stop: () => void}}
 */
export function poll(read, milliseconds) {
  let timer = 0;
  let reading = false;
  let again = false;
  let stopped = false;
  const run = async () => {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    again = false;
    await read().catch(() => {});
    reading = false;
    if (!stopped) timer = window.setTimeout(run, again ? 100 : milliseconds);
  };
  const start = () => void run();
  document.addEventListener("visibilitychange", start);
  start();
  return {
    now: start,
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", start);
    },
  };
}
