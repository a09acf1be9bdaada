# shellcheck shell=bash
# Chromium and the program that drives it, for tests of pages. Sourced by scripts/backends.

chromium_install() {
  ! command -v chromedriver >/dev/null || return 0
  # Ubuntu's package of this name is a snap, which containers cannot run: there, have chromedriver on PATH. A page has
  # to be read by somebody who looks at a screenshot: hence a font.
  install_packages chromium chromium-driver fonts-dejavu-core
  command -v chromedriver >/dev/null || die "chromedriver is still not there; install Chromium and its driver, so that they are on PATH"
}

chromium_env() {
  ! command -v chromedriver >/dev/null || printf 'export SHOP_TEST_CHROMEDRIVER=%q\n' "$(command -v chromedriver)"
}
