import { api, session } from '../api.js';
import { ratio, money } from '../cost.js';
import { fresh, h, link, outlined, sign } from '../lib/dom.js';
import { charged } from '../jobs.js';
import { byId, sentence } from '../models.js';

/** A modal dialog that removes itself when it closes, and gives focus back. */
export function sheet(title, ...inside) {
	const id = fresh('dialog');
	const opener = document.activeElement;
	const dialog = h('dialog', { 'aria-labelledby': id, onclose: () => (dialog.remove(), opener?.isConnected && opener.focus()) },
		h('div.dialog-body', h('div.dialog-head', h('h2', { id }, title), sign('close', 'Close', () => dialog.close())), inside));
	document.body.append(dialog);
	dialog.showModal();
	return dialog;
}

export function ask(title, words, yes) {
	return new Promise((answer) => {
		const go = h('button.button.main', { onclick: () => (answer(true), dialog.close()) }, yes);
		const dialog = sheet(title, h('p', words), h('div.row', go, outlined('Not now', () => dialog.close())));
		dialog.addEventListener('close', () => answer(false));
		go.focus();
	});
}

const emit = (type, detail) => document.dispatchEvent(new CustomEvent(type, { detail }));
const KEY_HELP = 'It is in the file that edit-studio up names; edit-studio login prints a link that needs none.';
let keyDialog = null;

export function key(message) {
	keyDialog?.close();
	const input = h('input.field', { id: fresh('key'), type: 'password', autocomplete: 'off', spellcheck: false, placeholder: 'es_…' });
	const fault = h('p.fault', { role: 'alert' });
	const keep = h('input', { type: 'checkbox' });
	const forget = session.known && outlined(session.endsAt ? 'Sign out' : 'Forget key', () => (keyDialog.close(), emit('key-forget')));
	const ends = session.endsAt && h('p.faint', `This key came with a login link and ends by itself on ${new Date(session.endsAt).toLocaleDateString([], { dateStyle: 'long' })}. Signing out ends it now.`);
	const form = h('form.dialog-body', h('p.quiet', message || KEY_HELP), h('label', { for: input.id }, 'Key'), input, fault,
		h('label.tick', keep, h('span', 'Keep it on this device', h('span.faint', 'Otherwise it is forgotten with this tab.'))), ends, h('div.row', h('button.button.main', { type: 'submit' }, 'Use this key'), forget));
	form.onsubmit = (event) => {
		event.preventDefault();
		const value = input.value.trim();
		if (!/^[\w.~+/=-]{1,200}$/.test(value)) {
			fault.textContent = 'A key looks like es_ and 24 letters and digits.';
			return input.focus();
		}
		keyDialog.close();
		return emit('key-use', { key: value, remember: keep.checked });
	};
	keyDialog = sheet('API key', form);
	input.focus();
}

const TERMS = { tier_bonus: 'Your tier', quality_bonus: 'Quality', history: 'Past choices', performance: 'Reliability' };

function bars(breakdown) {
	const terms = Object.entries(breakdown).filter(([, points]) => points !== 0);
	const most = Math.max(1, ...terms.map(([, points]) => Math.abs(points)));
	return h('div.bars', terms.map(([term, points]) => {
		const bar = h('i');
		bar.style.width = `${(Math.max(0, points) / most) * 100}%`;
		return [h('span', TERMS[term] ?? sentence(term.replaceAll('_', ' '))), h('span', { 'aria-hidden': 'true' }, bar), h('span', points.toFixed(1))];
	}));
}

function left(excluded, name) {
	const reasons = new Map();
	for (const one of excluded) reasons.set(one.why, [...(reasons.get(one.why) ?? []), name(one.model_id)]);
	return excluded.length > 0 && h('details.about', h('summary', `${excluded.length} models are out`), h('dl', [...reasons].map(([words, ones]) => [h('dt.quiet', sentence(words)), h('dd.faint', ones.join(', '))])));
}

export function why(recommendation, models) {
	const name = (id) => byId(models, id)?.name ?? id;
	const winner = byId(models, recommendation.recommended_model);
	const others = recommendation.alternatives.map((one) => {
		const use = outlined('Use it', () => (dialog.close(), emit('model-select', { id: one.model_id, from: 'why' })), { label: `Use it: ${one.name}` });
		return h('div.picked-row', h('div.words', h('strong', one.name), h('div.quiet', `${money(one.cost)}, ${ratio(one.cost, winner.cost).replace('=', 'same price')} · ${one.reason.replace(/^Alternative: /, '')}`)), use);
	});
	const dialog = sheet(`Why ${winner.name}`, h('p', `${recommendation.reason}.`), h('h3', `Score ${recommendation.score.toFixed(1)}`), bars(recommendation.score_breakdown),
		others.length > 0 && [h('h3', 'Alternatives'), h('div.picked', others)], left(recommendation.excluded, name));
}

const BILLED = { true: 'charged', false: 'not charged', null: 'the provider may charge it' };

export async function details(job, names) {
	const receipt = await api.receipt(job.id);
	const name = (id) => names.get(id) ?? id ?? 'no model';
	const fact = (label, value) => value && h('div', h('dt.faint', label), h('dd', value));
	const size = (pair) => pair.join(' × ');
	const { geometry: sizes, output, cost } = receipt;
	const delta = sizes?.outside_mask_max_delta;
	const checks = [output && `${output.format.toUpperCase()}, ${output.width} × ${output.height}, opened and looked at`, delta !== null && delta !== undefined && `outside of the mask at most ${delta} of 255 off`];
	const choices = receipt.choices.map(({ model_id: id, reason, candidates, excluded }) => {
		const best = candidates.find((one) => one.model_id === id);
		const others = candidates.filter((one) => one !== best).slice(0, 5).map((one) => h('li', `${name(one.model_id)}: ${money(one.cost)}, score ${one.score.toFixed(1)}`));
		return [h('p', `${name(id)}: ${reason.replace(/\.$/, '')}.`), best && bars(best.score_breakdown), others.length > 0 && h('ul.quiet', h('li', 'Weighed against'), others), left(excluded, name)];
	});
	const attempts = receipt.attempts.map(({ n, model, outcome, error }) => {
		const line = cost.lines.find((one) => one.attempt === n);
		return h('li', `${name(model)}: ${(outcome ?? 'running').replaceAll('_', ' ')}${error ? `, ${error}` : ''}${line ? ` · ${money(line.usd)}, ${BILLED[line.billed]}` : ''}`);
	});
	const facts = [
		fact('Instruction', job.prompt),
		fact('Size', sizes && `${size(sizes.input)} → sent ${size(sizes.sent)} → received ${size(sizes.received)} → ${size(sizes.delivered)} (${sizes.method.replaceAll('_', ' ')})`),
		fact('Adapted', receipt.adaptations.join('; ')),
		fact('Checked', checks.filter(Boolean).join('; ')),
		fact('Failed because', receipt.error?.message),
		fact('Charged', `${charged(job)}${cost.quoted === null ? '' : `, quoted ${money(cost.quoted)}`}`),
		fact('Edit', job.id),
	];
	sheet('Details of this edit', receipt.choices.length > 0 && h('h3', 'Why this model'), choices, attempts.length > 0 && [h('h3', 'What was tried'), h('ol.quiet', attempts)],
		h('dl.picked', facts), link(`Copy request ${job.request_id.slice(0, 12)}…`, () => navigator.clipboard?.writeText(job.request_id)));
}

const KEYS = { 'Ctrl Enter': 'Run', 'Ctrl V': 'Paste a picture', '1 2 3': 'Edit, compare, batch', M: 'Choose a model', C: 'Compare the models', O: 'Hold to see the original', Arrows: 'Move the divider by 1 %, Page keys by 10 %; move the brush', Space: 'Paint in the mask', 'B E': 'Paint, erase', '[ ]': 'Smaller, larger brush', I: 'Invert the mask', 'Ctrl Z': 'Undo in the mask', Esc: 'Leave the mask, close what is open', '?': 'This list' };

export const shortcuts = () => sheet('Shortcuts', h('dl.keys', Object.entries(KEYS).map(([one, words]) => [h('dt', one), h('dd', words)])));
