<?php
const VERSION = '6.2';
/** Where its styles, scripts and images are; the same in each version, as in many a CMS. */
const ASSETS = '/assets';
