BEGIN TRANSACTION;
CREATE TABLE segment_call (
	call_no INTEGER NOT NULL, 
	sync_no INTEGER NOT NULL, 
	identity VARCHAR(255) NOT NULL, 
	seen INTEGER NOT NULL, 
	PRIMARY KEY (call_no), 
	UNIQUE (sync_no, identity)
);
INSERT INTO "segment_call" VALUES(1,1,'identify',1);
INSERT INTO "segment_call" VALUES(2,1,'track:Left',1);
CREATE TABLE segment_known (
	call_no INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	known BIGINT NOT NULL, 
	PRIMARY KEY (call_no, run)
);
CREATE TABLE segment_run (
	sync_no INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	dag_id VARCHAR(255) NOT NULL, 
	task_id VARCHAR(255) NOT NULL, 
	run_id VARCHAR(255) NOT NULL, 
	map_index INTEGER NOT NULL, 
	try_number INTEGER NOT NULL, 
	mode VARCHAR(20) NOT NULL, 
	deletes INTEGER NOT NULL, 
	started BIGINT NOT NULL, 
	ended BIGINT, 
	state VARCHAR(10) NOT NULL, 
	PRIMARY KEY (sync_no, run)
);
INSERT INTO "segment_run" VALUES(1,1,'','','62281f451ed0434ba2cfa4818510f581',-1,0,'changes',1,1795735504,1795735505,'success');
INSERT INTO "segment_run" VALUES(1,2,'','','518f2bac5e934db585a610a7e8eb1eef',-1,0,'changes',1,1795735505,1795735505,'success');
CREATE TABLE segment_sample (
	call_no INTEGER NOT NULL, 
	fields TEXT NOT NULL, 
	PRIMARY KEY (call_no)
);
INSERT INTO "segment_sample" VALUES(1,'{"fields": ["traits.email", "type", "userId"], "rows": {"1": "632", "2": "d60", "3": "f07", "4": "df4", "5": "2d1", "6": "008", "7": "6f4", "8": "c66", "9": "393", "10": "ca4", "11": "e7b", "12": "f62", "13": "7ea", "14": "0e5", "15": "518", "16": "ba1", "17": "9a5", "18": "547", "19": "f61", "20": "873"}}');
INSERT INTO "segment_sample" VALUES(2,'{"fields": ["event", "type", "userId"], "rows": {"1": "932", "2": "bf0", "3": "3c7", "4": "fe4", "5": "f31", "6": "ee8", "7": "e94", "8": "706", "9": "6c3", "10": "7e4", "11": "53b", "12": "5d2", "13": "1ca", "14": "2c5", "15": "8f8", "16": "651", "17": "025", "18": "337", "19": "e11", "20": "643"}}');
CREATE TABLE segment_state (
	call_no INTEGER NOT NULL, 
	row_key BIGINT NOT NULL, 
	content BIGINT NOT NULL, 
	sent INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	doubt INTEGER NOT NULL, 
	ids TEXT, 
	meaning BIGINT, 
	PRIMARY KEY (call_no, row_key)
)
 WITHOUT ROWID

;
INSERT INTO "segment_state" VALUES(1,1,-4362616733303811821,2,2,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,2,-7073301545973950989,2,2,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,3,-2159738330507302447,1,2,1,NULL,0);
INSERT INTO "segment_state" VALUES(1,4,-2411450086915899294,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,5,-2928901811962929639,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,6,4299610249850161217,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,7,2911521462061313735,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,8,-1131203816314894113,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,9,-5584672330909235112,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,10,-2251308906123458048,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,11,8136456023550339275,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,12,-3556815232657405877,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,13,1479425977632924768,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,14,5190360386514782214,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,15,8994377010891350223,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,16,-1972702754975004874,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,17,7028174362413866668,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,18,-9006608767816331752,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,19,-8390826064765975829,1,1,0,NULL,0);
INSERT INTO "segment_state" VALUES(1,20,1,1,2,0,NULL,0);
INSERT INTO "segment_state" VALUES(2,1,2396733028092945264,0,1,0,'{"id":1}',0);
INSERT INTO "segment_state" VALUES(2,2,-4275104037389208534,0,1,0,'{"id":2}',0);
INSERT INTO "segment_state" VALUES(2,3,-6806861844721808402,0,1,0,'{"id":3}',0);
INSERT INTO "segment_state" VALUES(2,4,-8977217147734387583,0,1,0,'{"id":4}',0);
INSERT INTO "segment_state" VALUES(2,5,8941239329606568289,0,1,0,'{"id":5}',0);
INSERT INTO "segment_state" VALUES(2,6,5944101954365616753,0,1,0,'{"id":6}',0);
INSERT INTO "segment_state" VALUES(2,7,2406138556889684196,0,1,0,'{"id":7}',0);
INSERT INTO "segment_state" VALUES(2,8,-4772163784266477518,0,1,0,'{"id":8}',0);
INSERT INTO "segment_state" VALUES(2,9,1401030193040550241,0,1,0,'{"id":9}',0);
INSERT INTO "segment_state" VALUES(2,10,3680471365875860724,0,1,0,'{"id":10}',0);
INSERT INTO "segment_state" VALUES(2,11,-7063690478152142722,0,1,0,'{"id":11}',0);
INSERT INTO "segment_state" VALUES(2,12,1523555874512742723,0,1,0,'{"id":12}',0);
INSERT INTO "segment_state" VALUES(2,13,6669873523770777918,0,1,0,'{"id":13}',0);
INSERT INTO "segment_state" VALUES(2,14,-6161345644990994769,0,1,0,'{"id":14}',0);
INSERT INTO "segment_state" VALUES(2,15,-481506569880954646,0,1,0,'{"id":15}',0);
INSERT INTO "segment_state" VALUES(2,16,-8099568532008375156,0,1,0,'{"id":16}',0);
INSERT INTO "segment_state" VALUES(2,17,8983394770820770092,0,1,0,'{"id":17}',0);
INSERT INTO "segment_state" VALUES(2,18,6277830636633127241,0,1,0,'{"id":18}',0);
INSERT INTO "segment_state" VALUES(2,19,3810000665354318794,0,1,0,'{"id":19}',0);
INSERT INTO "segment_state" VALUES(2,20,1,1,2,0,'{"id":20}',0);
CREATE TABLE segment_sync (
	sync_no INTEGER NOT NULL, 
	sync_id VARCHAR(255) NOT NULL, 
	layout INTEGER NOT NULL, 
	generation VARCHAR(32) NOT NULL, 
	write_key VARCHAR(32) NOT NULL, 
	run INTEGER NOT NULL, 
	holder VARCHAR(32), 
	token VARCHAR(32), 
	expires BIGINT NOT NULL, 
	clean INTEGER NOT NULL, 
	PRIMARY KEY (sync_no), 
	UNIQUE (sync_id)
);
INSERT INTO "segment_sync" VALUES(1,'users',1,'0b967034659e4450a5ad0f24eb730aa1','07b743c63f63f92a',2,NULL,NULL,0,1);
COMMIT;
