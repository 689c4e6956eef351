// Allows functions without a body, which linkname gives one.
