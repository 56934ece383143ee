// What the page asks: the part of a cube's query that the address carries, and a sensible one where it carries none.
//
// The address is #cube=Risk&levels=Desk,Trades/Book&measures=Delta.SUM&across=Desk&totals=1&branch=what-if: names
// percent-encoded, a level as its name or as Table/Column where two levels share a name.

export const MASTER = "master";

const encodeNames = (names) => names.map((name) => name.split("/").map(encodeURIComponent).join("/")).join(",");

// The ids of levels: short names where these are unique, Table/Column elsewhere. "/" inside names is percent-encoded.
export function levelIds(cube) {
  const counts = new Map();
  for (const { name } of cube.levels) counts.set(name, (counts.get(name) ?? 0) + 1);
  const escape = (text) => text.replaceAll("%", "%25").replaceAll("/", "%2F").replaceAll(",", "%2C");
  return new Map(cube.levels.map((level) => [
    counts.get(level.name) === 1 ? escape(level.name) : `${escape(level.table)}/${escape(level.column)}`, level,
  ]));
}

export function readAddress(hash) {
  const given = new Map(hash.replace(/^#/, "").split("&").filter(Boolean).map((part) => {
    const at = part.indexOf("=");
    return at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)];
  }));
  const names = (key) => given.has(key) ? given.get(key).split(",").filter(Boolean).map(decode) : null;
  return {
    cube: given.has("cube") ? decode(given.get("cube")) : null,
    levels: names("levels"), measures: names("measures"), across: names("across")?.[0] ?? null,
    totals: given.get("totals") === "1",
    branch: given.has("branch") ? decode(given.get("branch")) : MASTER,
  };
}

// Without levels and measures: the cube's defaults.
export function writeAddress({ cube, levels, measures, across, totals, branch }) {
  const parts = [`cube=${encodeURIComponent(cube)}`];
  if (levels) parts.push(`levels=${encodeNames(levels)}`, `measures=${encodeNames(measures)}`);
  if (across) parts.push(`across=${encodeNames([across])}`);
  if (totals) parts.push("totals=1");
  if (branch !== MASTER) parts.push(`branch=${encodeURIComponent(branch)}`);
  return `#${parts.join("&")}`;
}

// The choice for `cube`: what the address names and the cube has, else a default; with the names it does not have.
export function choose(cube, branches, address) {
  const ids = levelIds(cube);
  const mine = (address.cube ?? cube.name) === cube.name;
  const levels = mine && address.levels ? address.levels.filter((id) => ids.has(id)) : defaultLevels(cube, ids);
  const known = mine && address.measures ? address.measures.filter((name) => cube.measures.includes(name)) : [];
  const measures = known.length ? known : defaultMeasures(cube);
  const across = mine && levels.length > 1 && levels.includes(address.across) ? address.across : null;
  const unknown = mine
    ? [...(address.levels ?? []).filter((id) => !ids.has(id)), ...(address.measures ?? []).filter((name) => !cube.measures.includes(name))]
    : [];
  const branch = branches.includes(address.branch) ? address.branch : MASTER;
  if (branch !== address.branch) unknown.push(address.branch);
  return { cube: cube.name, levels, measures, across, totals: address.totals, branch, unknown };
}

// A hierarchy of several levels tells most; then a level that is neither sliced nor part of the fact's key.
function defaultLevels(cube, ids) {
  const idOf = ([table, column]) => [...ids].find(([, level]) => level.table === table && level.column === column)?.[0];
  const deep = cube.hierarchies.find((hierarchy) => hierarchy.levels.length > 1);
  if (deep) return deep.levels.map(idOf);
  const sliced = new Set(cube.hierarchies.filter((hierarchy) => hierarchy.slicing).map((hierarchy) => hierarchy.name));
  const free = [...ids].filter(([, level]) => !sliced.has(level.hierarchy));
  const plain = free.filter(([, level]) => !level.key);
  return (plain.length ? plain : free).slice(0, 1).map(([id]) => id);
}

// Sums first, then what somebody defined by a name of its own.
function defaultMeasures(cube) {
  const sums = cube.measures.filter((name) => name.endsWith(".SUM"));
  const own = cube.measures.filter((name) => !/\.(SUM|MEAN|MIN|MAX|COUNT)$/.test(name));
  const chosen = [...sums, ...own].slice(0, 4);
  return chosen.length ? chosen : cube.measures.slice(0, 1);
}

// The body that the service takes for a choice.
export function queryOf(cube, choice) {
  const ids = levelIds(cube);
  return {
    measures: choice.measures,
    levels: choice.levels.map((id) => { const level = ids.get(id); return [level.table, level.column]; }),
    totals: choice.totals,
    branch: choice.branch,
  };
}

// The slicing hierarchies that a choice leaves out: its cells are those of their first members.
export function heldAtFirst(cube, choice) {
  const ids = levelIds(cube);
  const chosen = new Set(choice.levels.map((id) => ids.get(id).hierarchy));
  return cube.hierarchies.filter(({ name, slicing }) => slicing && !chosen.has(name)).map(({ name }) => name);
}

// What to call levels on the page: unique, so that they can be columns.
export const levelLabel = (id) => id.split("/").map(decode).join(" · ");

function decode(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}
