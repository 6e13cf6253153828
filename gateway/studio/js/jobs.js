/** Edits and batches in words. No page, no network. */

import { ended } from './live.js';
import { money } from './cost.js';
import { byId, blockedBecause, providerLabel, sentence } from './models.js';

const WAITING = {
	worker: 'Waiting for a worker',
	provider_queue: 'Waiting in the provider’s queue',
	rate_limit: 'Waiting for the provider’s rate limit',
	retry_backoff: 'Trying again in a moment',
	storage: 'Waiting for the storage',
};
const STAGES = { queued: 'Waiting', fetching: 'Fetching the picture', choosing: 'Choosing a model', adapting: 'Preparing', checking: 'Checking the result', storing: 'Storing the result' };

/** Newest first: ids tell the time. */
export const byAge = (a, b) => (a.id.replace(/^\w+_/, '') < b.id.replace(/^\w+_/, '') ? 1 : -1);

export function progressWords(job) {
	const { stage, waiting_on: waiting, queue_position: place, eta_s: eta } = job.progress;
	const doing = WAITING[waiting] ?? STAGES[stage] ?? sentence(stage);
	if (waiting === 'worker' && place) return `${doing}, place ${place + 1}`;
	return eta ? `${doing} · about ${Math.max(1, Math.round(eta))} s left` : doing;
}

/** 0 to 0.95, or null as long as nothing tells. @param {number} now milliseconds */
export function fraction(job, now) {
	const eta = job.progress.eta_s;
	if (!eta || !job.started_at) return null;
	const elapsed = Math.max(0, (now - Date.parse(job.started_at)) / 1000);
	return Math.min(0.95, elapsed / (elapsed + eta));
}

export const took = (job) => (job.finished_at ? (Date.parse(job.finished_at) - Date.parse(job.started_at ?? job.created_at)) / 1000 : null);

export function charged(job) {
	const usd = job.cost.actual;
	if (!ended(job)) return job.cost.estimated === null ? '' : `about ${money(job.cost.estimated)}`;
	if (job.status !== 'succeeded') return usd ? `${money(usd)} charged` : 'not charged';
	return money(usd);
}

const HELD = { canary: 'Look at the first ones', failure_rate: 'Too many failed, so the rest waits', max_cost: 'The limit is reached, so the rest waits' };

export function batchWords(batch) {
	const { total, succeeded, failed, canceled, queued, running } = batch.counts;
	const rest = queued + running;
	const status = { running: 'Running', held: HELD[batch.held_reason], canceled: rest ? 'Stopping' : 'Stopped' }[batch.status] ?? (failed ? `Done, ${failed} failed` : 'Done');
	const cost = batch.cost.actual || succeeded ? money(batch.cost.actual) : 'nothing charged';
	return { over: total - rest, rest, total, failed, succeeded, cost, status };
}

export function ago(time, now) {
	const minutes = (now - Date.parse(time)) / 60_000;
	if (minutes < 1) return 'just now';
	if (minutes < 60) return `${Math.floor(minutes)} min ago`;
	return new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

/** What to go on with where an edit failed: an alternative, or whatever can do it; after a refusal of another provider. */
export function nextModel(job, { models, recommendation, excluded }) {
	const able = (model) => model && model.id !== job.model && !(job.error?.code === 'moderated' && model.provider === job.provider) && !blockedBecause(model, { operation: job.operation, excluded });
	const first = [...(job.selection?.alternatives ?? []), ...(recommendation?.alternatives ?? [])].map((one) => byId(models, one.model_id));
	return [...first, ...models].find(able) ?? null;
}

export function failure(job) {
	if (job.status === 'canceled') return { title: 'Stopped', words: `The edit was stopped; ${charged(job)}.`, retryable: true };
	const { code, message, retryable } = job.error;
	const title = code === 'moderated' ? `${providerLabel(job.provider) || 'The provider'} refused this picture or instruction` : 'The edit failed';
	const cost = charged(job) === 'not charged' ? 'It was not charged.' : `${charged(job)}.`;
	return { title, words: `${sentence(message).replace(/\.?$/, '.')} ${cost}`, retryable: retryable && code !== 'moderated' };
}
