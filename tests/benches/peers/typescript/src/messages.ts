// What workflows and activities hand each other.

/** The vendors' names for an incident. */
export interface References {
  channel: string;
  pagerDutyId: string;
  statuspageId: string;
}

/** What every workflow is told. */
export interface Incident extends References {
  id: string;
  title: string;
  severity: string;
  by: string;
  invite: string[];
}

export interface InitiateResult extends References {
  warnings: string[];
}

/** Who may approve for how long; then the next one is paged. */
export interface Level {
  approvers: string[];
  withinSeconds: number;
}

export interface RemediateInput extends Incident {
  runbook: string;
  cells: string[];
  verification: string[];
  levels: Level[];
}

/** Comes as a signal or an update. */
export interface Decision {
  decision: 'approved' | 'rejected';
  approverId: string;
  reason?: string;
}

/** What the query answers. */
export interface Approval {
  status: 'pending' | 'approved' | 'rejected' | 'timeout';
  level: number;
  by: string;
  reason: string;
}

/** One fenced block of a runbook. */
export interface Cell {
  name: string;
  source: string;
  idempotent: boolean;
  timeoutSeconds: number;
}

export interface CellResult {
  name: string;
  exitCode: number;
  stdout: string;
  stderr: string;
}

export interface RemediateResult {
  status: 'COMPLETED' | 'REJECTED' | 'FAILED';
  approval: Approval;
  cells: CellResult[];
  warnings: string[];
}

export interface CloseOutInput extends Incident {
  summary: string;
}

export interface Closed {
  status: 'COMPLETED';
  warnings: string[];
}

export interface PostMortemInput extends Incident {
  review: string;
  levels: Level[];
}

export interface PostMortemResult {
  status: 'COMPLETED' | 'REJECTED';
  url: string;
  warnings: string[];
}
