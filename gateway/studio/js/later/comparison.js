/** ModelComparisonDialog: all models in a table, and up to three side by side. */

import { attribute, define, fresh, h, icon, keyed, outlined, Part, press, sign, text } from '../lib/element.js';
import { byId, blockedBecause, passes, providerLabel, sideLabel, sorted, tierLabel, TIERS, timeLabel, worksSmaller } from '../models.js';
import { money, ratio } from '../cost.js';
import { mark, references, side, starTag, tierTag } from '../parts/model-card.js';

const PINS_MAX = 3;
const COLUMNS = { name: 'Model', tier: 'Tier', cost: 'Cost', time: 'Time', side: 'Largest side', references: 'References' };
const TICKS = { able: 'Can do this edit', fullSize: 'Keeps full size', references: 'Several references', lettering: 'Text in picture' };
const NO_FILTER = { query: '', tiers: new Set(), able: false, fullSize: false, references: false, lettering: false, upTo: Infinity };
/** Words, and a number that is the better the larger. */
const LINES = [
	['Cost', (model) => money(model.cost), (model) => -model.cost],
	['Time', (model) => timeLabel(model.performance), (model) => -(model.performance?.p50_s ?? Infinity)],
	['Largest side', sideLabel, (model) => Math.max(...model.max_resolution)],
	['References', references, (model) => model.max_images],
];

class ComparisonDialog extends Part {
	static props = { models: [], image: null, operation: '', excluded: [], selected: 'auto', recommended: null, pins: [] };

	#filter = { ...NO_FILTER, able: true };
	#column = 'cost';
	#up = true;

	build() {
		const title = fresh('comparison');
		this.search = h('input.field', { type: 'search', placeholder: 'Search models', label: 'Search the models', oninput: () => this.#set({ query: this.search.value }) });
		const pill = (label, onclick, on) => Object.assign(h('button.pill', { onclick }, label), { on });
		this.pills = [
			...TIERS.map(({ id, label }) => pill(label, () => this.#toggleTier(id), () => this.#filter.tiers.has(id))),
			...Object.entries(TICKS).map(([name, label]) => pill(label, () => this.#set({ [name]: !this.#filter[name] }), () => this.#filter[name])),
		];
		this.upTo = h('input', { type: 'range', min: 0, step: 0.005, label: 'Up to this cost', oninput: () => this.#set({ upTo: this.upTo.valueAsNumber }) });
		this.upToWords = h('strong');
		this.pinned = h('div.pins');
		this.heads = Object.entries(COLUMNS).map(([id, label]) => {
			const arrow = h('span', { 'aria-hidden': 'true' });
			return Object.assign(h('th', { scope: 'col' }, h('button', { onclick: () => this.#sort(id) }, label, ' ', arrow)), { column: id, arrow });
		});
		this.rows = h('tbody', { role: 'rowgroup' });
		this.none = h('div.empty', { role: 'status' }, h('p', 'No model fits these filters.'), outlined('Clear the filters', () => this.#clear()));
		this.foot = h('div.foot', { role: 'status' });
		const head = (words) => h('th', { scope: 'col' }, words);
		const unseen = (words) => head(h('span.unseen', words));
		const table = h('table', { role: 'table', 'aria-labelledby': title }, h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, unseen('Pin'), this.heads, head('Best for'), unseen('Select'))), this.rows);
		this.dialog = h('dialog.comparison', { 'aria-labelledby': title, onclose: () => this.emit('closed') },
			h('div.head',
				h('div.dialog-head', h('div', h('h2', { id: title }, 'Compare models'), h('p.quiet', 'Pin up to three to see them side by side.')), sign('close', 'Close', () => this.dialog.close())),
				h('div.filters', h('div.search-box', icon('search'), this.search), this.pills, h('label.row.quiet', 'Up to ', this.upToWords, this.upTo)),
				this.pinned),
			h('div.table-wrap', { tabIndex: 0, role: 'region', label: 'All models' }, table, this.none), this.foot);
		this.append(this.dialog);
	}

	open() {
		const dearest = Math.max(0.01, ...this.models.map((model) => model.cost));
		this.upTo.max = dearest;
		this.upTo.value = Math.min(this.#filter.upTo, dearest);
		this.update();
		this.dialog.showModal();
	}

	#toggleTier(id) {
		const tiers = new Set(this.#filter.tiers);
		if (!tiers.delete(id)) tiers.add(id);
		this.#set({ tiers });
	}

	#set(patch) {
		Object.assign(this.#filter, patch);
		this.update();
	}

	#clear() {
		this.search.value = '';
		this.upTo.value = this.upTo.max;
		this.#set(NO_FILTER);
		this.search.focus();
	}

	#sort(column) {
		this.#up = this.#column === column ? !this.#up : true;
		this.#column = column;
		this.update();
	}

	update() {
		for (const pill of this.pills) press(pill, pill.on());
		for (const head of this.heads) {
			const sorts = head.column === this.#column;
			attribute(head, 'aria-sort', sorts ? (this.#up ? 'ascending' : 'descending') : null);
			text(head.arrow, sorts ? (this.#up ? '↑' : '↓') : '');
		}
		text(this.upToWords, this.#filter.upTo < Number(this.upTo.max) ? money(this.#filter.upTo) : 'any');
		const found = sorted(this.models.filter((model) => passes(model, this.#filter, this)), this.#column, this.#up);
		keyed(this.rows, found, (model) => model.id, (model) => this.#row(model), (row) => row.refresh());
		this.none.hidden = found.length > 0;
		text(this.foot, `${found.length} of ${this.models.length} models. Prices are list prices per edit; failed edits are not charged.`);
		this.#showPins();
	}

	#row(model) {
		const cell = (name, ...inside) => h(`td${name && `.${name}`}`, { role: 'cell', 'data-label': COLUMNS[name] ?? null }, inside);
		const pin = sign('pin', `Pin ${model.name}`, () => this.#pin(model.id));
		const star = starTag();
		const against = h('small');
		const smaller = h('small.smaller', 'works smaller');
		const size = h('span');
		const select = h('button.button', { label: `Select ${model.name}`, onclick: () => this.#select(model.id) });
		const row = h('tr', { role: 'row', data: { id: model.id } }, cell('', pin),
			cell('', h('div.name', mark(model), h('div.grow', h('div.row', h('strong', model.name), star), h('small', providerLabel(model.provider))))),
			cell('tier', tierTag(model)), cell('cost', h('strong', money(model.cost)), against), cell('time', timeLabel(model.performance)), cell('side', size, smaller), cell('references', references(model)),
			cell('best-for', model.use_cases.slice(0, 2).join(', '), h('small', model.features.slice(0, 3).join(' · '))), cell('', select));
		row.refresh = () => {
			const why = blockedBecause(model, this);
			const current = model.id === this.selected;
			const chosen = byId(this.models, this.selected) ?? byId(this.models, this.recommended);
			press(pin, this.pins.includes(model.id));
			star.hidden = model.id !== this.recommended;
			text(against, current ? 'selected' : chosen ? ratio(model.cost, chosen.cost) : '');
			size.replaceChildren(side(model, this.image));
			smaller.hidden = !worksSmaller(model, this.image);
			row.classList.toggle('chosen', current);
			row.classList.toggle('blocked', Boolean(why));
			text(select, current ? 'Selected' : why ? 'Cannot' : 'Select');
			attribute(select, 'aria-disabled', why ? 'true' : null);
			select.title = why ?? '';
			select.classList.toggle('line', current);
		};
		return row;
	}

	#select(id) {
		if (blockedBecause(byId(this.models, id), this)) return;
		this.dialog.close();
		this.emit('model-select', { id, from: 'comparison' });
	}

	#pin(id) {
		this.pins = this.pins.includes(id) ? this.pins.filter((one) => one !== id) : [...this.pins, id].slice(-PINS_MAX);
		this.emit('pins-change', { pins: this.pins });
	}

	#showPins() {
		const models = this.pins.map((id) => byId(this.models, id)).filter(Boolean);
		keyed(this.pinned, models, (model) => model.id, (model) => this.#pinCard(model), (card, model) => {
			const current = model.id === this.selected;
			const why = blockedBecause(model, this);
			card.classList.toggle('chosen', current);
			text(card.select, current ? 'Selected' : why ? 'Cannot' : 'Select');
			attribute(card.select, 'aria-disabled', why ? 'true' : null);
			card.list.replaceChildren(...LINES.map(([name, words, value]) => {
				const values = models.map(value);
				// A mark that all of them wear says nothing.
				const wins = value(model) === Math.max(...values) && values.some((one) => one !== value(model));
				return h('div', h('dt', name), h(`dd${wins ? '.best' : ''}`, words(model), wins && [' ✓', h('span.unseen', ' best')]));
			}));
		});
	}

	#pinCard(model) {
		const select = h('button.button.main', { label: `Select ${model.name}`, onclick: () => this.#select(model.id) });
		const list = h('dl');
		const about = h('div.grow', h('strong.cut', model.name), h('p.quiet', `${providerLabel(model.provider)} · ${tierLabel(model.tier)}`));
		const card = h('div.pinned', { role: 'group', label: model.name, data: { id: model.id } },
			h('div.row', mark(model), about, sign('close', `Unpin ${model.name}`, () => this.#pin(model.id))), list, h('div.row', h('span.quiet.grow', model.use_cases.slice(0, 3).join(', ')), select));
		return Object.assign(card, { select, list });
	}
}
define('es-comparison-dialog', ComparisonDialog);
