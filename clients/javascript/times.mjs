// Instants as microseconds since 1970, UTC.

const ISO =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,6})\d*)?)?)?(Z|[+-]\d\d(?::?\d\d)?)?$/;

/** ISO 8601 -> microseconds; without an offset it is what clocks in `zone` show. */
export function instantOf(text, zone) {
  const found = (typeof text === "string" && ISO.exec(text)) || [];
  const [, year, month, day, hour = 0, minute = 0, second = 0, fraction = "", offset] = found;
  const date = new Date(Date.UTC(+year, month - 1, +day, +hour, +minute, +second));
  const whole = date.getUTCMonth() === month - 1 && date.getUTCDate() === +day && hour < 24 && minute < 60 && second < 60;
  if (!whole) throw new Error(`${JSON.stringify(text)} is no time such as 2026-03-01T10:00:00Z`);
  const shown = date.getTime() * 1000 + +fraction.padEnd(6, "0");
  if (offset === undefined) return byClock(shown, zone);
  const [, sign, hours, minutes = 0] = /^([+-])(\d\d):?(\d\d)?$/.exec(offset) ?? [0, "+", 0];
  return shown - (sign === "-" ? -1 : 1) * (+hours * 60 + +minutes) * 60e6;
}

/** Of two instants at which clocks show a time the earlier one; of a time that they skip, when they skip it. */
function byClock(shown, zone) {
  const day = 86400e6;
  const shifts = [...new Set([shown - day, shown + day].map((at) => ahead(at, zone)))];
  const found = shifts.map((shift) => shown - shift).filter((at) => at + ahead(at, zone) === shown);
  if (found.length) return Math.min(...found);
  let [low, high] = [shown - Math.max(...shifts), shown - Math.min(...shifts)].map((at) => Math.floor(at / 1e6));
  const before = ahead(low * 1e6, zone);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (ahead(middle * 1e6, zone) === before) low = middle;
    else high = middle;
  }
  return high * 1e6;
}

/** By how much a zone's clocks are ahead of UTC at an instant. */
function ahead(at, zone) {
  if (zone === "UTC") return 0;
  const second = Math.floor(at / 1e6) * 1000;
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric",
    minute: "numeric", second: "numeric",
  });
  const p = Object.fromEntries(format.formatToParts(second).map((part) => [part.type, +part.value]));
  return (Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second) - second) * 1000;
}
