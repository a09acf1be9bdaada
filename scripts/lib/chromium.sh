# shellcheck shell=bash
# Chromium and the program that drives it, for tests of pages. Sourced by scripts/backends.

# Ubuntu's package of this name is a snap, which containers cannot run: there, have chromedriver on PATH. A page has
# to be read by somebody who looks at a screenshot: hence a font.
chromium_missing() {
  command -v chromedriver >/dev/null || printf '%s\n' chromium chromium-driver fonts-dejavu-core
}

chromium_env() {
  ! command -v chromedriver >/dev/null || printf 'export SHOP_TEST_CHROMEDRIVER=%q\n' "$(command -v chromedriver)"
}
