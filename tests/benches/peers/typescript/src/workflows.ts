import { rootCause } from '@temporalio/common';
import {
  condition,
  defineQuery,
  defineSignal,
  defineUpdate,
  log,
  proxyActivities,
  proxyLocalActivities,
  setHandler,
} from '@temporalio/workflow';
import type { Activities } from './activities';
import type {
  Approval,
  Cell,
  CellResult,
  Closed,
  CloseOutInput,
  Decision,
  Incident,
  InitiateResult,
  Level,
  PostMortemInput,
  PostMortemResult,
  RemediateInput,
  RemediateResult,
} from './messages';

const steps = proxyActivities<Activities>({
  startToCloseTimeout: '30s',
  scheduleToCloseTimeout: '15m',
  retry: { initialInterval: '1s', maximumInterval: '30s' },
});
// Reading a file of this machine takes no task of its own.
const local = proxyLocalActivities<Activities>({ startToCloseTimeout: '5s' });

const approval = defineSignal<[Decision]>('approval');
const decide = defineUpdate<Approval, [Decision]>('decide');
const approvalState = defineQuery<Approval>('approvalState');

/** What did not work and was not needed is a warning; gives `otherwise` then. */
async function optional<T>(warnings: string[], step: string, made: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await made;
  } catch (error) {
    warnings.push(`${step}: ${rootCause(error)}`);
    return otherwise;
  }
}

/** Tells everybody: the channel and whoever is on call first, then the first update and the public page. */
export async function Initiate(incident: Incident): Promise<InitiateResult> {
  const warnings: string[] = [];
  const [channel, pagerDutyId] = await Promise.all([
    optional(warnings, 'channel', steps.openChannel(incident), ''),
    optional(warnings, 'page', steps.pageOnCall(incident), ''),
  ]);
  const text = `*${incident.title}*\n${incident.severity} ${incident.id} declared by ${incident.by}`;
  const [, statuspageId] = await Promise.all([
    optional(warnings, 'first update', steps.postPinned(channel, text), ''),
    optional(warnings, 'status page', steps.publish(incident), ''),
  ]);
  return { channel, pagerDutyId, statuspageId, warnings };
}

/** Asks for approval of a runbook, then runs it cell by cell; the first failure stops. */
export async function Remediate(input: RemediateInput): Promise<RemediateResult> {
  const gate = new Gate(input, input.levels);
  const warnings: string[] = [];
  const wanted = [...input.cells, ...input.verification];
  const cells = await local.loadRunbook(input.runbook, wanted);

  const proposed = `Remediation proposed by ${input.by}: ${input.runbook}`;
  const announced = optional(warnings, 'announcement', steps.post(input.channel, proposed), '');
  const answered = await gate.ask(`Run ${input.runbook}, cells ${wanted.join(' → ')}`, warnings);
  const done = gate.isApproved() ? await run(cells) : [];
  const passed = done.every((cell) => cell.exitCode === 0);
  const status = !gate.isApproved() ? 'REJECTED' : passed ? 'COMPLETED' : 'FAILED';
  await Promise.all([announced, answered()]);
  const outcome = `${input.runbook}: ${status}, ${done.length} cells`;
  await optional(warnings, 'outcome', steps.post(input.channel, outcome), '');
  return { status, approval: gate.state, cells: done, warnings };
}

async function run(cells: Cell[]): Promise<CellResult[]> {
  const done: CellResult[] = [];
  for (const cell of cells) {
    const { runCell } = proxyActivities<Activities>({
      startToCloseTimeout: cell.timeoutSeconds * 1000,
      heartbeatTimeout: '10s',
      retry: { maximumAttempts: cell.idempotent ? 3 : 1 },
    });
    const result = await runCell(cell).catch(
      (error): CellResult => ({ name: cell.name, exitCode: -1, stdout: '', stderr: `${rootCause(error)}` }),
    );
    done.push(result);
    if (result.exitCode !== 0) break;
  }
  return done;
}

/** Waits for somebody who may decide. */
class Gate {
  state: Approval = { status: 'pending', level: 1, by: '', reason: '' };

  constructor(
    private readonly incident: Incident,
    private readonly levels: Level[],
  ) {
    setHandler(approvalState, () => this.state);
    setHandler(approval, (decision) => {
      const problem = this.problem(decision);
      if (problem) log.warn('a decision does not count', { problem });
      else this.take(decision);
    });
    const validator = (decision: Decision): void => {
      const problem = this.problem(decision);
      if (problem) throw new Error(problem);
    };
    setHandler(decide, (decision) => this.take(decision), { validator });
  }

  private problem({ decision, approverId }: Decision): string | undefined {
    if (decision !== 'approved' && decision !== 'rejected') return `${decision} is neither approved nor rejected`;
    if (this.state.status !== 'pending') return `it is ${this.state.status} already`;
    const may = this.levels.slice(0, this.state.level).some((level) => level.approvers.includes(approverId));
    return may ? undefined : `${approverId} may not decide`;
  }

  private take({ decision, approverId, reason }: Decision): Approval {
    this.state = { ...this.state, status: decision, by: approverId, reason: reason ?? '' };
    return this.state;
  }

  isApproved(): boolean {
    return this.state.status === 'approved';
  }

  /**
   * Posts the question and waits for the decision. The message is answered beside what follows, since nobody waits for
   * Slack before the first cell: what this gives waits for that.
   */
  async ask(question: string, warnings: string[]): Promise<() => Promise<void>> {
    const { channel } = this.incident;
    const asking = steps.post(channel, `*${question}*`);
    // Whether it was asked matters once it is answered; until then nobody handles its failure.
    asking.catch(() => undefined);
    await this.decided(warnings);
    const answer = `${this.state.status} by ${this.state.by}: ${question}`;
    const answering = asking.then((asked) => steps.update(channel, asked, answer));
    const answered = optional(warnings, 'answer', answering, undefined);
    return () => answered;
  }

  /** Level by level; the next one is paged when nobody decides. */
  private async decided(warnings: string[]): Promise<void> {
    for (const [number, level] of this.levels.entries()) {
      this.state.level = number + 1;
      if (number > 0) {
        const paging = steps.pageOnCall(this.incident, `${this.incident.id} waits for an approval`);
        await optional(warnings, 'escalation', paging, '');
      }
      if (await condition(() => this.state.status !== 'pending', level.withinSeconds * 1000)) return;
    }
    this.state = { ...this.state, status: 'timeout', reason: 'nobody decided' };
  }
}

/** Tells everybody that it is over. */
export async function CloseOut(input: CloseOutInput): Promise<Closed> {
  const warnings: string[] = [];
  await Promise.all([
    optional(warnings, 'page', steps.resolvePage(input.pagerDutyId), undefined),
    optional(warnings, 'status page', steps.resolveStatus(input.statuspageId), undefined),
    optional(warnings, 'post', steps.post(input.channel, `*Resolved: ${input.title}*\n${input.summary}`), ''),
  ]);
  return { status: 'COMPLETED', warnings };
}

/** Publishes the review once somebody has approved it. */
export async function PostMortem(input: PostMortemInput): Promise<PostMortemResult> {
  const gate = new Gate(input, input.levels);
  const warnings: string[] = [];
  const answered = await gate.ask(`Publish the review of ${input.id}`, warnings);
  let url = '';
  if (gate.isApproved()) {
    url = await steps.publishReview(input);
    const text = `The review of ${input.id} is published: ${url}`;
    await optional(warnings, 'link', steps.post(input.channel, text), '');
  }
  await answered();
  return { status: gate.isApproved() ? 'COMPLETED' : 'REJECTED', url, warnings };
}
