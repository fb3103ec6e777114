import { readFile } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import type { Cell } from './messages';

const FENCE = /^```(?:sh|bash|shell) *\{([^}]*)\}\n(.*?)^```/gms;
const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600 };

/** Reads the cells with these names, in this order. */
export async function loadRunbook(root: string, path: string, wanted: string[]): Promise<Cell[]> {
  const text = await readFile(join(root, normalize(`/${path.replace(/^runbooks\//, '')}`)), 'utf8');
  const known = new Map<string, Cell>();
  for (const [, attributes = '', source = ''] of text.matchAll(FENCE)) {
    const given = new Map(attributes.trim().split(/\s+/).map((one) => one.split('=', 2) as [string, string]));
    const cell = {
      name: given.get('name') ?? '',
      source,
      idempotent: given.get('idempotent') === 'true',
      timeoutSeconds: seconds(given.get('timeout') ?? '60s'),
    };
    known.set(cell.name, cell);
  }
  return wanted.map((name) => {
    const cell = known.get(name);
    if (!cell) throw new Error(`${path} has no cell ${name}`);
    return cell;
  });
}

function seconds(text: string): number {
  const [, number, unit = ''] = /^(\d+)([smh])$/.exec(text) ?? [];
  const factor = UNITS[unit];
  if (!number || !factor) throw new Error(`${text} is no duration`);
  return Number(number) * factor;
}
