// How values are shown: numbers short enough to read, what is absent as N/A.

export const ABSENT = "N/A";
export const TOTAL = "Total";

export const textOf = (value) => value === null ? ABSENT : typeof value === "boolean" ? String(value) : `${value}`;

export const numberOf = (value) => value === null || value === undefined ? null : Number(value);

// Digits after the point that suit a column: none for whole numbers, more for small ones.
export function digitsFor(values) {
  let largest = 0;
  let whole = true;
  for (const value of values) {
    if (value === null || !Number.isFinite(value)) continue;
    largest = Math.max(largest, Math.abs(value));
    whole &&= Number.isInteger(value);
  }
  if (whole) return 0;
  return largest >= 10_000 ? 0 : largest >= 1 ? 2 : 6;
}

export const formatOf = (digits) => ({ minimumFractionDigits: digits, maximumFractionDigits: digits });
