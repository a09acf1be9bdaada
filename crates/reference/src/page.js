// Starts Swagger UI on the document next door, with a search over everything that is said of an operation.
'use strict';

const words = (operation) => {
  const said = operation.get('operation');
  const of = (key) => said.get(key) || '';
  const parameters = said.get('parameters');
  const names = parameters ? parameters.map((one) => one.get('name') || '').join(' ') : '';
  return [operation.get('method'), operation.get('path'), of('operationId'), of('summary'), of('description'), names]
    .join(' ').toLowerCase();
};

// All words of the phrase have to be there, in any order. A tag that is named shows all of its operations.
const matching = (tags, phrase) => {
  const wanted = phrase.toLowerCase().split(/\s+/).filter(Boolean);
  return tags
    .map((tag, name) => tag.update('operations', (operations) => operations.filter((operation) => {
      const text = `${name.toLowerCase()} ${words(operation)}`;
      return wanted.every((word) => text.includes(word));
    })))
    .filter((tag) => tag.get('operations').size > 0);
};

// By path, and for each as one would use it: read, add, change, remove.
const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const inOrder = (one, other) => one.get('path').localeCompare(other.get('path'))
  || METHODS.indexOf(one.get('method')) - METHODS.indexOf(other.get('method'));

// In place of Swagger UI's own, which looks at the names of tags only.
const Search = ({ layoutSelectors, layoutActions, getSystem }) => {
  const { React } = getSystem();
  const phrase = layoutSelectors.currentFilter();
  return React.createElement('div', { className: 'wrapper search' }, React.createElement('input', {
    type: 'search',
    placeholder: 'Search: products post, basket item, refund …',
    'aria-label': 'Search operations',
    value: typeof phrase === 'string' ? phrase : '',
    onChange: (event) => layoutActions.updateFilter(event.target.value || true),
  }));
};

// Swagger UI is dark where this class is.
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const shade = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', shade);
shade();

window.ui = SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  displayOperationId: false,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  filter: true,
  operationsSorter: inOrder,
  // Nobody else is asked whether the document is valid.
  validatorUrl: null,
  // A token is gone with the page.
  persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [(system) => ({
    fn: { opsFilter: matching },
    components: { FilterContainer: (props) => Search({ ...props, getSystem: () => system }) },
  })],
  layout: 'BaseLayout',
  onComplete: () => {
    const title = window.ui.specSelectors.info().get('title');
    if (title) document.title = title;
  },
});
