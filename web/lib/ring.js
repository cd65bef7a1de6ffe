// A bounded series of the latest values.

export class Ring {
  /**
   * @param {number} size
   * @param {number} columns
   */
  constructor(size, columns) {
    this.size = size;
    /** @type {(number | null)[][]} */
    this.columns = Array.from({ length: columns }, () => []);
  }

  /** @param {(number | null)[]} row replaces the last one */
  replace(row) {
    for (const column of this.columns) column.pop();
    this.push(row);
  }

  /** @param {(number | null)[]} row */
  push(row) {
    this.columns.forEach((column, index) => {
      column.push(row[index] ?? null);
      if (column.length > this.size) column.shift();
    });
  }
}
