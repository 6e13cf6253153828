/** ModelSelector: the choice, and a popover with search, tiers, costs, features and reasons. */

import { attribute, button, define, fresh, h, icon, keyed, link, outlined, Part, press, text } from '../lib/element.js';
import { byId, blockedBecause, grouped, matches, providerLabel, tierLabel, TIERS } from '../models.js';
import { money } from '../cost.js';
import { mark, references, side, starTag } from './model-card.js';

const PAGE_ROWS = 6;

const signOf = (model) => (model ? mark(model) : h('span.mark.auto', { 'aria-hidden': 'true' }, icon('auto', 17)));

class ModelSelector extends Part {
	/** value: a model's id or `auto`; status: loading, ready or error; excluded: of the recommendation; known: id → details */
	static props = { models: [], value: 'auto', operation: '', image: null, recommendation: null, excluded: [], status: 'loading', known: new Map(), usd: null };

	#tiers = new Set();
	#active = null;

	build() {
		this.skeleton = h('div.skeleton', { role: 'status', label: 'Loading the models' });
		this.failed = h('div.notice', 'The models could not be loaded. ', link('Retry', () => this.emit('models-retry')));
		const id = fresh('models');
		this.pop = h('div.model-pop', { popover: 'auto', id, role: 'dialog', label: 'Choose a model' });
		this.sign = h('span', { 'aria-hidden': 'true' });
		this.shown = h('strong.cut');
		this.below = h('span.quiet.cut');
		this.cost = h('span.cost');
		this.opener = h('button.model-button', { 'aria-haspopup': 'dialog', 'aria-expanded': 'false', 'aria-controls': id, onclick: () => this.open() },
			this.sign, h('span.words', h('span.unseen', 'Model: '), this.shown, this.below), this.cost, icon('down', 16));
		this.opener.onkeydown = (event) => event.key === 'ArrowDown' && (event.preventDefault(), this.open());
		this.append(this.skeleton, this.failed, this.opener, this.pop);
		this.#buildPop();
		this.pop.ontoggle = ({ newState }) => {
			attribute(this.opener, 'aria-expanded', String(newState === 'open'));
			if (newState === 'closed' && this.pop.contains(document.activeElement)) this.opener.focus();
		};
	}

	#buildPop() {
		const listId = fresh('model-list');
		this.search = h('input.field', { type: 'text', placeholder: 'Search name, feature, use…', role: 'combobox', autocomplete: 'off', spellcheck: false,
			'aria-label': 'Search the models', 'aria-controls': listId, 'aria-expanded': 'true', 'aria-autocomplete': 'list',
			oninput: () => this.#list(), onkeydown: (event) => this.#key(event) });
		this.pills = TIERS.map(({ id, label }) => h('button.pill', { data: { tier: id }, onclick: () => (this.#tiers.delete(id) || this.#tiers.add(id), this.#list()) }, label));
		this.list = h('div.model-list', { id: listId, role: 'listbox', label: 'Models' });
		this.none = h('div.empty', { role: 'status' }, h('p', 'No model fits this search.'), outlined('Clear the search', () => this.#clear()));
		this.card = h('es-model-card');
		this.count = h('span');
		const all = button('columns', 'Compare all side by side', () => (this.close(), this.emit('model-compare', { ids: [] })), 'link');
		this.pop.append(h('div.model-search', h('div.search-box', icon('search'), this.search), h('div.row', { role: 'group', label: 'Tiers' }, this.pills)), this.list, h('div.model-preview', { tabIndex: -1, role: 'region', label: 'About the model' }, this.card),
			h('div.model-foot', h('span', this.count, ' · ', h('span.smaller', 'amber'), ' works smaller than this picture'), all));
	}

	open() {
		if (this.status !== 'ready') return;
		this.#place();
		if (!this.pop.matches(':popover-open')) this.pop.showPopover();
		this.#active = this.value;
		this.#list();
		this.search.focus();
		this.search.select();
	}

	close() {
		if (this.pop.matches(':popover-open')) this.pop.hidePopover();
		this.opener.focus();
	}

	#place() {
		const { right, top } = this.opener.getBoundingClientRect();
		const height = Math.min(620, innerHeight - 80);
		this.pop.style.left = `${Math.max(12, Math.min(right + 22, innerWidth - 772))}px`;
		this.pop.style.top = `${Math.max(64, Math.min(top, innerHeight - height - 12))}px`;
	}

	#clear() {
		this.search.value = '';
		this.#tiers.clear();
		this.#list();
		this.search.focus();
	}

	update() {
		this.skeleton.hidden = this.status !== 'loading';
		this.failed.hidden = this.status !== 'error';
		this.opener.hidden = this.status !== 'ready';
		if (this.status !== 'ready') return;
		const model = byId(this.models, this.value);
		const picked = byId(this.models, this.recommendation?.recommended_model);
		this.sign.replaceChildren(signOf(model));
		text(this.shown, model ? model.name : 'Auto');
		text(this.below, model ? `${providerLabel(model.provider)} · ${tierLabel(model.tier)}` : picked ? `→ ${picked.name}` : 'The best model for each edit');
		text(this.cost, money(this.usd ?? model?.cost ?? this.recommendation?.estimated_cost ?? null));
		if (this.pop.matches(':popover-open')) this.#list();
	}

	#list() {
		const query = this.search.value;
		const found = this.models.filter((model) => matches(model, query) && (!this.#tiers.size || this.#tiers.has(model.tier)));
		for (const pill of this.pills) press(pill, this.#tiers.has(pill.dataset.tier));
		const groups = grouped(found, (model) => !blockedBecause(model, this));
		if (!query && !this.#tiers.size) groups.unshift({ id: 'auto', label: 'Auto', about: 'chosen for each edit', models: [{ id: 'auto' }] });
		keyed(this.list, found.length ? groups : [{ id: 'none' }], (group) => group.id, (group) => this.#makeGroup(group), (element, group) => element.refresh?.(group));
		text(this.count, `${found.length} of ${this.models.length} models`);
		const rows = this.#rows();
		if (!rows.some((row) => row.dataset.id === this.#active)) this.#active = rows.find((row) => row.ariaDisabled !== 'true')?.dataset.id ?? null;
		this.#activate(this.#active, { scroll: true });
	}

	#makeGroup(group) {
		if (group.id === 'none') return this.none;
		const count = h('span.faint');
		const rows = h('div', { role: 'presentation' });
		const id = fresh('tier');
		const element = h('div', { role: 'group', 'aria-labelledby': id, data: { group: group.id } }, h('div.model-group-head', h('span', { id }, group.label), h('span.faint', group.about), count), rows);
		element.refresh = ({ models }) => {
			text(count, group.id === 'auto' ? '' : String(models.length));
			keyed(rows, models, (model) => model.id, (model) => this.#makeRow(model), (row, model) => row.refresh(model));
		};
		return element;
	}

	#makeRow({ id, name = 'Auto', cost, ...model }) {
		const auto = id === 'auto';
		const about = h('div.faint.cut');
		const star = starTag();
		const row = h('div.model-row', { role: 'option', id: fresh('row'), data: { id }, onclick: () => this.#choose(id), onpointermove: () => this.#active !== id && this.#activate(id, {}) },
			signOf(auto ? null : { name, ...model }), h('div.words', h('div.title', h('strong.cut', name), star), about), h('span.cost', auto ? '' : money(cost)));
		row.refresh = (now) => {
			const why = auto ? null : blockedBecause(now, this);
			attribute(row, 'aria-disabled', why ? 'true' : null);
			attribute(row, 'aria-selected', String(id === this.value));
			star.hidden = id !== this.recommendation?.recommended_model;
			if (auto) text(about, 'The service weighs price, size and quality, and falls back when a provider fails');
			else if (why) text(about, why);
			else about.replaceChildren(side(now, this.image), ...[now.max_images > 1 && `${references(now)} refs`, ...now.features.slice(0, 2), now.status === 'deprecated' && 'ending soon'].filter(Boolean).map((words) => ` · ${words}`));
		};
		return row;
	}

	#rows() {
		return [...this.list.querySelectorAll('[role="option"]')];
	}

	#activate(id, { scroll }) {
		this.#active = id;
		for (const row of this.#rows()) {
			const active = row.dataset.id === id;
			attribute(row, 'data-active', active ? '' : null);
			if (!active) continue;
			attribute(this.search, 'aria-activedescendant', row.id);
			if (scroll) row.scrollIntoView({ block: 'nearest' });
		}
		if (id === null) attribute(this.search, 'aria-activedescendant', null);
		const best = this.recommendation?.recommended_model;
		const find = (wanted) => byId(this.models, wanted) ?? null;
		const model = find(id === 'auto' ? best : id);
		Object.assign(this.card, { model, image: this.image, recommended: model?.id === best && Boolean(best), details: this.known.get(model?.id) ?? null, reference: find(this.value) });
		if (model) this.emit('model-look', { id: model.id });
	}

	#move(steps) {
		const rows = this.#rows().filter((row) => row.ariaDisabled !== 'true');
		if (!rows.length) return;
		const at = rows.findIndex((row) => row.dataset.id === this.#active);
		const to = Math.abs(steps) === 1 ? (at + steps + rows.length) % rows.length : Math.max(0, Math.min(rows.length - 1, at + steps));
		this.#activate(rows[to].dataset.id, { scroll: true });
	}

	#choose(id) {
		const row = this.#rows().find((one) => one.dataset.id === id);
		if (!row || row.ariaDisabled === 'true') return;
		this.close();
		this.emit('model-select', { id, from: 'selector' });
	}

	#key(event) {
		const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: PAGE_ROWS, PageUp: -PAGE_ROWS }[event.key];
		if (steps) this.#move(steps);
		else if (event.key === 'Enter') this.#choose(this.#active);
		else if (event.key === 'Escape' && this.search.value) this.#clear();
		else if (event.key === 'Escape') this.close();
		else return;
		event.preventDefault();
		event.stopPropagation();
	}
}
define('es-model-selector', ModelSelector);
