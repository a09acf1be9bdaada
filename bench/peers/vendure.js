// Vendure on PostgreSQL with its dummy payment handler, as its documentation sets it up, plus a catalogue: a hundred products that
// do not run out, one that has seven, one for payments made twice; their ids go to the file CATALOGUE. DATABASE_URL names an empty database,
// PORT is where it listens. The job queue runs in the same process, so that all of its work is measured.
const fs = require('node:fs');
const {
  bootstrap, DefaultJobQueuePlugin, DefaultLogger, DefaultSearchPlugin, JobQueueService, LogLevel, RequestContextService, ProductService,
  ProductVariantService, StockLocationService, dummyPaymentHandler,
} = require('@vendure/core');
const { populate } = require('@vendure/core/cli');

const url = new URL(process.env.DATABASE_URL);
const config = {
  apiOptions: { port: Number(process.env.PORT), hostname: '127.0.0.1' },
  authOptions: { tokenMethod: 'bearer', requireVerification: false, superadminCredentials: { identifier: 'admin', password: 'admin' } },
  dbConnectionOptions: {
    type: 'postgres',
    synchronize: true,
    host: url.hostname,
    port: Number(url.port),
    username: url.username,
    password: decodeURIComponent(url.password),
    database: url.pathname.slice(1),
    poolSize: 20,
  },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  logger: new DefaultLogger({ level: LogLevel.Warn }),
  plugins: [DefaultJobQueuePlugin, DefaultSearchPlugin.init({ bufferUpdates: false })],
};

const initial = {
  defaultLanguage: 'en',
  defaultZone: 'Europe',
  countries: [{ name: 'Germany', code: 'DE', zone: 'Europe' }],
  taxRates: [{ name: 'Standard Tax', percentage: 19 }],
  shippingMethods: [{ name: 'Standard Shipping', price: 500 }],
  paymentMethods: [
    { name: 'Dummy', handler: { code: 'dummy-payment-handler', arguments: [{ name: 'automaticSettle', value: 'true' }] } },
  ],
  collections: [],
};

// Makes what can be bought, and gives its ids: `many`, `seven` and `twice`.
async function fill(app) {
  const ctx = await app.get(RequestContextService).create({ apiType: 'admin' });
  const location = await app.get(StockLocationService).defaultStockLocation(ctx);
  const make = async (name, stock) => {
    const texts = [{ languageCode: 'en', name, slug: name, description: 'measured' }];
    const product = await app.get(ProductService).create(ctx, { enabled: true, translations: texts });
    const [variant] = await app.get(ProductVariantService).create(ctx, [{
      productId: product.id,
      sku: name,
      price: 1990,
      translations: [{ languageCode: 'en', name }],
      trackInventory: 'TRUE',
      stockLevels: [{ stockLocationId: location.id, stockOnHand: stock }],
      optionIds: [],
    }]);
    return variant.id;
  };
  const many = [];
  for (let n = 0; n < 100; n++) many.push(await make(`product-${n}`, 1_000_000));
  return { many, seven: await make('seven', 7), twice: await make('twice', 1_000_000) };
}

async function main() {
  const app = await populate(() => bootstrap(config), initial);
  await app.get(JobQueueService).start();
  // Whole or not at all: it is waited for.
  fs.writeFileSync(`${process.env.CATALOGUE}.part`, JSON.stringify(await fill(app)));
  fs.renameSync(`${process.env.CATALOGUE}.part`, process.env.CATALOGUE);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
