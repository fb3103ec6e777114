import { Context } from '@temporalio/activity';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Cell, CellResult, Incident, PostMortemInput } from './messages';
import { loadRunbook } from './runbook';
import { call, callSlack, type Vendor } from './vendor';

export interface Settings {
  slack: Vendor;
  pagerduty: Vendor;
  statuspage: Vendor;
  confluence: Vendor;
  service: string;
  page: string;
  space: string;
  runbooks: string;
}

export type Activities = ReturnType<typeof activities>;

/** How much of each stream goes into a cell's result. */
const TAIL = 8 << 10;

export function activities({ slack, pagerduty, statuspage, confluence, service, page, space, runbooks }: Settings) {
  const post = async (channel: string, text: string): Promise<string> => {
    const body = { channel, text, blocks: section(text) };
    return (await callSlack<{ ts: string }>(slack, 'chat.postMessage', body)).ts;
  };

  return {
    post,

    /** The incident's channel, with its topic and those who are to be in it. */
    async openChannel({ id, title, severity, invite }: Incident): Promise<string> {
      const name = `${id}-${title}`.toLowerCase();
      const made = await callSlack<{ channel: { id: string } }>(slack, 'conversations.create', { name });
      const channel = made.channel.id;
      await callSlack(slack, 'conversations.setPurpose', { channel, purpose: id });
      await callSlack(slack, 'conversations.setTopic', { channel, topic: `${id} ${severity} ${title}` });
      await callSlack(slack, 'conversations.invite', { channel, users: invite.join(',') });
      return channel;
    },

    /** A message that stays on top. */
    async postPinned(channel: string, text: string): Promise<string> {
      const timestamp = await post(channel, text);
      await callSlack(slack, 'pins.add', { channel, timestamp });
      return timestamp;
    },

    async update(channel: string, ts: string, text: string): Promise<void> {
      await callSlack(slack, 'chat.update', { channel, ts, text, blocks: section(text) });
    },

    /** PagerDuty's incident, unless an earlier try has made it. */
    async pageOnCall(incident: Incident, escalation?: string): Promise<string> {
      const key = escalation ? `${incident.id}/escalation` : incident.id;
      const query = `/incidents?incident_key=${encodeURIComponent(key)}`;
      const found = await call<{ incidents: { id: string }[] }>(pagerduty, 'GET', query);
      if (found.incidents[0]) return found.incidents[0].id;
      const body = {
        incident: {
          type: 'incident',
          title: escalation ?? `${incident.id}: ${incident.title}`,
          service: { id: service, type: 'service_reference' },
          urgency: 'high',
          incident_key: key,
          body: { type: 'incident_body', details: `Severity ${incident.severity}` },
        },
      };
      return (await call<{ incident: { id: string } }>(pagerduty, 'POST', '/incidents', body)).incident.id;
    },

    async resolvePage(id: string): Promise<void> {
      const body = { incident: { type: 'incident_reference', status: 'resolved' } };
      await call(pagerduty, 'PUT', `/incidents/${id}`, body);
    },

    /** Opens an incident on the status page. */
    async publish(incident: Incident): Promise<string> {
      const body = {
        incident: {
          name: 'We are investigating an issue with our services',
          status: 'investigating',
          body: 'We are investigating an issue with our services.',
          metadata: { incident: { id: incident.id } },
          impact_override: 'major',
        },
      };
      return (await call<{ id: string }>(statuspage, 'POST', `/pages/${page}/incidents`, body)).id;
    },

    async resolveStatus(id: string): Promise<void> {
      const body = { incident: { status: 'resolved', body: 'This incident is resolved.' } };
      await call(statuspage, 'PATCH', `/pages/${page}/incidents/${id}`, body);
    },

    /** Makes a page in Confluence; gives its address. */
    async publishReview({ id, review }: PostMortemInput): Promise<string> {
      const query = `/spaces?keys=${encodeURIComponent(space)}`;
      const spaces = await call<{ results: { id: string }[] }>(confluence, 'GET', query);
      const spaceId = spaces.results[0]?.id;
      if (!spaceId) throw new Error(`Confluence has no space ${space}`);
      const body = {
        spaceId,
        status: 'current',
        title: `Review of ${id}`,
        body: { representation: 'storage', value: review },
      };
      const made = await call<{ _links: { base: string; webui: string } }>(confluence, 'POST', '/pages', body);
      return made._links.base + made._links.webui;
    },

    /** Reads the cells with these names, in this order. */
    async loadRunbook(path: string, wanted: string[]): Promise<Cell[]> {
      return loadRunbook(runbooks, path, wanted);
    },

    /** Runs a cell with the shell. Its exit code is a result, not an error. */
    async runCell({ name, source }: Cell): Promise<CellResult> {
      const context = Context.current();
      const child = spawn('/bin/sh', ['-ec', source], {
        stdio: ['ignore', 'pipe', 'pipe'],
        signal: context.cancellationSignal,
      });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text) => (stdout = (stdout + text).slice(-TAIL)));
      child.stderr.setEncoding('utf8').on('data', (text) => (stderr = (stderr + text).slice(-TAIL)));
      const beat = setInterval(() => context.heartbeat(), 5_000);
      try {
        const [code] = (await once(child, 'close')) as [number | null];
        return { name, exitCode: code ?? -1, stdout, stderr };
      } finally {
        clearInterval(beat);
      }
    },
  };
}

function section(text: string): object[] {
  return [{ type: 'section', text: { type: 'mrkdwn', text } }];
}
