/// <reference types="vite/client" />
// The JSON fixtures that the Python side is tested on as well.

const FILES = import.meta.glob('../../tests/fixtures/protocol/*.json', { eager: true, import: 'default' });

export function fixture<T>(name: string): T {
  const found = FILES[`../../tests/fixtures/protocol/${name}.json`];
  if (found === undefined) throw new Error(`there is no fixture ${name}`);
  return structuredClone(found) as T;
}
