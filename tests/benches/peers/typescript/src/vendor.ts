import { ApplicationFailure } from '@temporalio/activity';

/** An HTTP API. Some want to know who calls, or have an answer's type of their own. */
export interface Vendor {
  base: string;
  authorization: string;
  from?: string;
  accept?: string;
}

/** Sends JSON and reads JSON. What the vendor refuses is not tried again; Retry-After is kept. */
export async function call<T>(vendor: Vendor, method: string, path: string, body?: object): Promise<T> {
  const headers: Record<string, string> = {
    Authorization: vendor.authorization,
    Accept: vendor.accept ?? 'application/json',
  };
  if (body) headers['Content-Type'] = 'application/json; charset=utf-8';
  if (vendor.from) headers.From = vendor.from;
  const response = await fetch(vendor.base + path, {
    method,
    headers,
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(20_000),
  });
  const text = await response.text();
  if (!response.ok) {
    const after = Number(response.headers.get('retry-after'));
    throw ApplicationFailure.create({
      message: `${method} ${path}: ${response.status}: ${text}`,
      type: 'Vendor',
      nonRetryable: response.status < 500 && response.status !== 429,
      nextRetryDelay: after > 0 ? after * 1000 : undefined,
    });
  }
  return JSON.parse(text) as T;
}

/** Calls a method of Slack's Web API, which says in the body whether it did it. */
export async function callSlack<T>(slack: Vendor, method: string, body: object): Promise<T> {
  const answer = await call<{ ok: boolean; error?: string }>(slack, 'POST', `/${method}`, body);
  if (!answer.ok) throw ApplicationFailure.nonRetryable(`${method}: ${answer.error}`, 'Slack');
  return answer as T;
}
