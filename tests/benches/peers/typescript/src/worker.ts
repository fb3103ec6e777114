// A worker that takes an incident through the same lifecycle as Harmony's blueprints, as somebody who knows Temporal
// would write it by hand: four workflows, an approval by signal or update with an escalation timer, and no log of its
// own. The benchmark `peers` drives both and compares them.

import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { activities } from './activities';

async function main(): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('WARN') });
  const connection = await NativeConnection.connect({ address: setting('TEMPORAL_ADDRESS') });
  const worker = await Worker.create({
    connection,
    namespace: setting('TEMPORAL_NAMESPACE'),
    taskQueue: setting('TASK_QUEUE'),
    workflowsPath: require.resolve('./workflows'),
    activities: activities({
      slack: { base: setting('SLACK_BASE_URL'), authorization: `Bearer ${setting('SLACK_BOT_TOKEN')}` },
      pagerduty: {
        base: setting('PAGERDUTY_BASE_URL'),
        authorization: `Token token=${setting('PAGERDUTY_API_KEY')}`,
        from: setting('PAGERDUTY_FROM'),
        accept: 'application/vnd.pagerduty+json;version=2',
      },
      statuspage: { base: setting('STATUSPAGE_BASE_URL'), authorization: `OAuth ${setting('STATUSPAGE_API_KEY')}` },
      confluence: {
        base: setting('CONFLUENCE_BASE_URL'),
        authorization: basic(setting('CONFLUENCE_EMAIL'), setting('CONFLUENCE_API_TOKEN')),
      },
      service: setting('PAGERDUTY_SERVICE_ID'),
      page: setting('STATUSPAGE_PAGE_ID'),
      space: setting('CONFLUENCE_SPACE_KEY'),
      runbooks: setting('HARMONY_RUNBOOKS'),
    }),
  });
  await worker.run();
}

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}`);
  return value;
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
