-- The eight tables of TPC-H at scale factor 0.1, with the value domains of the specification's section 4.2.3 but for
-- texts, which are short. Everything is drawn by hash of a row's key: no clock, no randomness. They are not dbgen's rows.

CREATE MACRO pick(k, salt, n) AS (hash(k, salt) % n::UBIGINT)::BIGINT;
CREATE MACRO cents(c) AS (c * 0.01)::DECIMAL(15, 2);
CREATE MACRO word(k, salt) AS ['furiously', 'quickly', 'carefully', 'ironic', 'final', 'pending', 'special', 'regular',
  'express', 'bold', 'even', 'silent', 'deposits', 'requests', 'accounts', 'packages', 'theodolites', 'pinto beans',
  'foxes', 'ideas', 'platelets', 'dependencies', 'instructions', 'excuses'][1 + pick(k, salt, 24)];
CREATE MACRO comment_of(k, salt) AS word(k, salt || 1) || ' ' || word(k, salt || 2) || ' ' || word(k, salt || 3) || ' ' || word(k, salt || 4);
CREATE MACRO phone(k, nation) AS printf('%d-%03d-%03d-%04d', nation + 10, 100 + pick(k, 'p1', 900), 100 + pick(k, 'p2', 900), 1000 + pick(k, 'p3', 9000));
CREATE MACRO address(k, salt) AS substr(md5(salt || k::VARCHAR), 1, 10 + pick(k, salt, 20)::INTEGER);
CREATE MACRO retail(partkey) AS 90000 + (partkey // 10) % 20001 + 100 * (partkey % 1000);
CREATE MACRO supplier_of(partkey, i) AS (partkey + i * (250 + (partkey - 1) // 1000)) % 1000 + 1;

CREATE TABLE region AS SELECT i::INTEGER AS r_regionkey, ['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'MIDDLE EAST'][i + 1] AS r_name,
  comment_of(i, 'r') AS r_comment FROM range(5) t(i);

CREATE TABLE nation AS SELECT i::INTEGER AS n_nationkey,
  ['ALGERIA', 'ARGENTINA', 'BRAZIL', 'CANADA', 'EGYPT', 'ETHIOPIA', 'FRANCE', 'GERMANY', 'INDIA', 'INDONESIA', 'IRAN', 'IRAQ', 'JAPAN',
   'JORDAN', 'KENYA', 'MOROCCO', 'MOZAMBIQUE', 'PERU', 'CHINA', 'ROMANIA', 'SAUDI ARABIA', 'VIETNAM', 'RUSSIA', 'UNITED KINGDOM',
   'UNITED STATES'][i + 1] AS n_name,
  [0, 1, 1, 1, 4, 0, 3, 3, 2, 2, 4, 4, 2, 4, 0, 0, 0, 1, 2, 3, 4, 2, 3, 3, 1][i + 1]::INTEGER AS n_regionkey,
  comment_of(i, 'n') AS n_comment FROM range(25) t(i);

CREATE TABLE supplier AS SELECT i AS s_suppkey, printf('Supplier#%09d', i) AS s_name, address(i, 's') AS s_address,
  pick(i, 'sn', 25)::INTEGER AS s_nationkey, phone(i, pick(i, 'sn', 25)) AS s_phone, cents(pick(i, 'sb', 1099999) - 99999) AS s_acctbal,
  comment_of(i, 's') AS s_comment FROM range(1, 1001) t(i);

CREATE TABLE customer AS SELECT i AS c_custkey, printf('Customer#%09d', i) AS c_name, address(i, 'c') AS c_address,
  pick(i, 'cn', 25)::INTEGER AS c_nationkey, phone(i, pick(i, 'cn', 25)) AS c_phone, cents(pick(i, 'cb', 1099999) - 99999) AS c_acctbal,
  ['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'MACHINERY', 'HOUSEHOLD'][1 + pick(i, 'cm', 5)] AS c_mktsegment,
  comment_of(i, 'c') AS c_comment FROM range(1, 15001) t(i);

CREATE MACRO colour(k, salt) AS ['almond', 'antique', 'aquamarine', 'azure', 'beige', 'bisque', 'black', 'blanched', 'blue', 'blush',
  'brown', 'burlywood', 'chartreuse', 'chiffon', 'chocolate', 'coral', 'cornflower', 'cream', 'cyan', 'dark', 'dim', 'drab', 'firebrick',
  'floral', 'forest', 'frosted', 'gainsboro', 'ghost', 'goldenrod', 'green', 'honeydew', 'hot', 'indian', 'ivory', 'khaki', 'lace',
  'lavender', 'lemon', 'lime', 'linen'][1 + pick(k, salt, 40)];
CREATE TABLE part AS SELECT i AS p_partkey,
  colour(i, 'c1') || ' ' || colour(i, 'c2') || ' ' || colour(i, 'c3') || ' ' || colour(i, 'c4') || ' ' || colour(i, 'c5') AS p_name,
  'Manufacturer#' || (1 + pick(i, 'pm', 5)) AS p_mfgr, 'Brand#' || (1 + pick(i, 'pm', 5)) || (1 + pick(i, 'pb', 5)) AS p_brand,
  ['STANDARD', 'SMALL', 'MEDIUM', 'LARGE', 'ECONOMY', 'PROMO'][1 + pick(i, 't1', 6)] || ' ' ||
    ['ANODIZED', 'BURNISHED', 'PLATED', 'POLISHED', 'BRUSHED'][1 + pick(i, 't2', 5)] || ' ' ||
    ['TIN', 'NICKEL', 'BRASS', 'STEEL', 'COPPER'][1 + pick(i, 't3', 5)] AS p_type,
  (1 + pick(i, 'ps', 50))::INTEGER AS p_size,
  ['SM', 'LG', 'MED', 'JUMBO', 'WRAP'][1 + pick(i, 'k1', 5)] || ' ' ||
    ['CASE', 'BOX', 'BAG', 'JAR', 'PKG', 'PACK', 'CAN', 'DRUM'][1 + pick(i, 'k2', 8)] AS p_container,
  cents(retail(i)) AS p_retailprice, comment_of(i, 'p') AS p_comment FROM range(1, 20001) t(i);

CREATE TABLE partsupp AS SELECT i AS ps_partkey, supplier_of(i, n) AS ps_suppkey, (1 + pick(i * 4 + n, 'pa', 9999))::INTEGER AS ps_availqty,
  cents(100 + pick(i * 4 + n, 'pc', 99901)) AS ps_supplycost, comment_of(i * 4 + n, 'ps') AS ps_comment
  FROM (SELECT i, unnest(range(4)) AS n FROM range(1, 20001) t(i));

-- Order keys use 8 of every 32 numbers; every third customer has no orders.
CREATE TABLE base AS SELECT i, (i // 8) * 32 + i % 8 AS orderkey, DATE '1992-01-01' + pick(i, 'od', 2406)::INTEGER AS orderdate
  FROM range(1, 150001) t(i);

CREATE TABLE lines AS SELECT orderkey, orderdate, n, i * 8 + n AS k, 1 + pick(i * 8 + n, 'lp', 20000) AS partkey,
  1 + pick(i * 8 + n, 'lq', 50) AS quantity, orderdate + (1 + pick(i * 8 + n, 'ls', 121))::INTEGER AS shipdate
  FROM (SELECT i, orderkey, orderdate, unnest(range(1, 2 + pick(i, 'ol', 7))) AS n FROM base);

CREATE TABLE lineitem AS SELECT orderkey AS l_orderkey, partkey AS l_partkey, supplier_of(partkey, pick(k, 'lx', 4)) AS l_suppkey,
  n::INTEGER AS l_linenumber, quantity::DECIMAL(15, 2) AS l_quantity, cents(quantity * retail(partkey)) AS l_extendedprice,
  cents(pick(k, 'ld', 11)) AS l_discount, cents(pick(k, 'lt', 9)) AS l_tax,
  CASE WHEN receiptdate > DATE '1995-06-17' THEN 'N' WHEN pick(k, 'lr', 2) = 0 THEN 'R' ELSE 'A' END AS l_returnflag,
  CASE WHEN shipdate > DATE '1995-06-17' THEN 'O' ELSE 'F' END AS l_linestatus,
  shipdate AS l_shipdate, orderdate + (30 + pick(k, 'lc', 61))::INTEGER AS l_commitdate, receiptdate AS l_receiptdate,
  ['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'][1 + pick(k, 'li', 4)] AS l_shipinstruct,
  ['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'][1 + pick(k, 'lm', 7)] AS l_shipmode, comment_of(k, 'l') AS l_comment
  FROM (SELECT *, shipdate + (1 + pick(k, 'le', 30))::INTEGER AS receiptdate FROM lines);

CREATE TABLE orders AS SELECT orderkey AS o_orderkey, (pick(i, 'oc', 10000) // 2) * 3 + 1 + pick(i, 'oc', 10000) % 2 AS o_custkey,
  CASE WHEN open = 0 THEN 'F' WHEN open = items THEN 'O' ELSE 'P' END AS o_orderstatus, total AS o_totalprice, orderdate AS o_orderdate,
  ['1-URGENT', '2-HIGH', '3-MEDIUM', '4-NOT SPECIFIED', '5-LOW'][1 + pick(i, 'op', 5)] AS o_orderpriority,
  printf('Clerk#%09d', 1 + pick(i, 'ok', 100)) AS o_clerk, 0 AS o_shippriority, comment_of(i, 'o') AS o_comment
  FROM base JOIN (SELECT l_orderkey, count(*) AS items, count(*) FILTER (l_linestatus = 'O') AS open,
    sum(l_extendedprice * (1 + l_tax) * (1 - l_discount))::DECIMAL(15, 2) AS total FROM lineitem GROUP BY 1) ON l_orderkey = orderkey
  ORDER BY o_orderkey;

COPY region TO 'region.parquet' (FORMAT parquet);
COPY nation TO 'nation.parquet' (FORMAT parquet);
COPY supplier TO 'supplier.parquet' (FORMAT parquet);
COPY customer TO 'customer.parquet' (FORMAT parquet);
COPY part TO 'part.parquet' (FORMAT parquet);
COPY partsupp TO 'partsupp.parquet' (FORMAT parquet);
COPY orders TO 'orders.parquet' (FORMAT parquet);
COPY lineitem TO 'lineitem.parquet' (FORMAT parquet);
