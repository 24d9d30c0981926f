//! The group's coordinator is killed while its members read. Needs `KLAMM_TEST_CLUSTER` besides `KLAMM_TEST_BOOTSTRAP`.
