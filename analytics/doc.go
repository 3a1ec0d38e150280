// Package analytics is SQL as a job: datasets, the request that the SQL worker answers, the result stream that it
// answers with, and the HTTP gateway for people who have nothing but curl.
//
// A dataset is a [Manifest]: an ordered list of files with digests, a declared schema and dialect, nothing left to
// guess when a query runs. [Job] turns a query over datasets into [receipt.Work]: the worker is one content-addressed
// program (analytics/worker, static C on DuckDB), its stdin the canonical [Request], its inputs the datasets' files.
// The worker writes the result stream, one spelling for one answer, so that executors agree by comparing digests;
// [Decode] reads it, and Table, JSON, NDJSON and CSV are exports of it.
//
// The package starts no process and opens no connection: node runs the worker in a cage and gives a [Sniffer] and a
// [Submitter].
package analytics
