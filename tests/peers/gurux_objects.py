"""One object of each interface class that gurux-dlms 1.0.203 can serve, filled with values that are not its defaults.

Imported by ``gurux_meter.py`` alone, in its own process: gurux-dlms is GPL-2.0-only.
"""

import datetime as dt

from gurux_dlms import GXDate, GXDateTime, GXTime
from gurux_dlms import objects as gx
from gurux_dlms.objects import enums

NAMES = {
    4: "1.0.1.6.0.255", 5: "1.0.1.4.0.255", 6: "0.0.14.0.0.255", 9: "0.0.10.0.100.255", 10: "0.0.12.0.0.255",
    11: "0.0.11.0.0.255", 17: "0.0.41.0.0.255", 18: "0.0.44.0.0.255", 19: "0.0.20.0.0.255", 20: "0.0.13.0.0.255",
    21: "0.0.16.1.0.255", 22: "0.0.15.0.1.255", 23: "0.0.22.0.0.255", 25: "0.0.24.0.0.255", 40: "0.0.25.9.0.255",
    41: "0.0.25.0.0.255", 42: "0.0.25.1.0.255", 45: "0.0.25.4.0.255", 47: "0.0.25.6.0.255", 48: "0.0.25.7.0.255",
    64: "0.0.43.0.0.255", 71: "0.0.17.0.0.255", 72: "0.1.24.1.0.255", 111: "0.0.19.0.0.255", 112: "0.0.19.10.0.255",
    113: "0.0.19.20.0.255", 115: "0.0.19.40.0.255",
}  # fmt: skip
AT = dt.datetime(2026, 11, 20, 22, 0, 0, tzinfo=dt.UTC)


def more():
    """Make the objects."""
    at = GXDateTime(AT)
    made = {}

    def make(kind, class_id):
        made[class_id] = kind(NAMES[class_id])
        return made[class_id]

    one = make(gx.GXDLMSExtendedRegister, 4)
    one.scaler, one.unit, one.value, one.status, one.captureTime = 1, 27, 77, 5, at
    one.setDataType(2, 18)
    one.setDataType(4, 17)
    one = make(gx.GXDLMSDemandRegister, 5)
    one.scaler, one.unit, one.currentAverageValue, one.lastAverageValue, one.status = 1, 27, 11, 22, 0
    for index, kind in ((2, 18), (3, 18), (5, 17)):
        one.setDataType(index, kind)
    one.captureTime = one.startTimeCurrent = at
    one.period, one.numberOfPeriods = 900, 1
    one = make(gx.GXDLMSScriptTable, 9)
    script = gx.GXDLMSScript()
    script.id = 3
    action = gx.GXDLMSScriptAction()
    action.type_ = enums.ScriptActionType.EXECUTE
    action.target, action.index, action.parameter, action.parameterDataType = made[4], 1, 0, 15
    script.actions.append(action)
    one.scripts.append(script)
    one = make(gx.GXDLMSSpecialDaysTable, 11)
    day = gx.GXDLMSSpecialDay()
    day.index, day.date, day.dayId = 1, GXDate(dt.datetime(2026, 12, 25, tzinfo=dt.UTC)), 7
    one.entries = [day]
    one = make(gx.GXDLMSSapAssignment, 17)
    one.sapAssignmentList = [(1, "GRX0000000000042")]
    one = make(gx.GXDLMSImageTransfer, 18)
    one.imageBlockSize, one.imageTransferredBlocksStatus, one.imageFirstNotTransferredBlockNumber = 128, "1101", 2
    one.imageTransferEnabled, one.imageTransferStatus = True, enums.ImageTransferStatus.IMAGE_TRANSFER_INITIATED
    one = make(gx.GXDLMSIECLocalPortSetup, 19)
    one.deviceAddress, one.password1, one.password2, one.password5 = "42", "secret1", "secret2", "secret5"
    one = make(gx.GXDLMSActivityCalendar, 20)
    one.calendarNameActive = one.calendarNamePassive = "CAL"
    season = gx.GXDLMSSeasonProfile(b"S", at, b"W")
    week = gx.GXDLMSWeekProfile()
    week.name, week.monday, week.tuesday, week.wednesday, week.thursday = b"W", 1, 1, 1, 1
    week.friday, week.saturday, week.sunday = 1, 2, 2
    plan = gx.GXDLMSDayProfile()
    plan.dayId = 1
    step = gx.GXDLMSDayProfileAction()
    step.startTime, step.scriptLogicalName, step.scriptSelector = (
        GXTime(dt.datetime(2026, 1, 1, 6, 0, tzinfo=dt.UTC)),
        NAMES[9],
        3,
    )
    plan.daySchedules = [step]
    one.seasonProfileActive = one.seasonProfilePassive = [season]
    one.weekProfileTableActive = one.weekProfileTablePassive = [week]
    one.dayProfileTableActive = one.dayProfileTablePassive = [plan]
    one.time = at
    one = make(gx.GXDLMSActionSchedule, 22)
    one.target, one.executedScriptSelector = made[9], 3
    one.type_ = enums.SingleActionScheduleType.SingleActionScheduleType1
    one.executionTime = [GXDateTime(AT)]
    one = make(gx.GXDLMSHdlcSetup, 23)
    one.maximumInfoLengthTransmit = one.maximumInfoLengthReceive = 128
    one.deviceAddress = 16
    one = make(gx.GXDLMSMBusSlavePortSetup, 25)
    one.busAddress = 5
    one = make(gx.GXDLMSPushSetup, 40)
    one.version, one.service, one.destination = 1, enums.ServiceType.TCP, "192.0.2.1:4059"
    one.message = enums.MessageType.COSEM_APDU
    one.communicationWindow = [(at, at)]
    one.randomisationStartInterval, one.numberOfRetries, one.repetitionDelay = 60, 3, 300
    one.pushClientSAP, one.portReference = 1, None
    one = make(gx.GXDLMSTcpUdpSetup, 41)
    one.port, one.ipReference, one.maximumSegmentSize = 4059, NAMES[42], 576
    one.maximumSimultaneousConnections, one.inactivityTimeout = 1, 180
    one = make(gx.GXDLMSIp4Setup, 42)
    one.dataLinkLayerReference, one.ipAddress, one.subnetMask = NAMES[45], "192.0.2.7", "255.255.255.0"
    one.gatewayIPAddress = one.primaryDNSAddress = one.secondaryDNSAddress = "192.0.2.1"
    one.useDHCP = True
    one = make(gx.GXDLMSGprsSetup, 45)
    one.apn, one.pinCode = "internet", 1234
    one = make(gx.GXDLMSGSMDiagnostic, 47)
    one.operator, one.status = "Example", enums.GsmStatus.HOME_NETWORK
    one.captureTime = at
    one.cellInfo.cellId, one.cellInfo.signalQuality = 70_000, 17
    one = make(gx.GXDLMSSecuritySetup, 64)
    one.version, one.clientSystemTitle, one.serverSystemTitle = (
        0,
        b"HDE\x00\x00\x00\x00\x01",
        b"GRX\x00\x00\x00\x00\x2a",
    )
    one = make(gx.GXDLMSLimiter, 71)
    one.monitoredValue, one.monitoredAttributeIndex = made[4], 2
    for which in ("thresholdActive", "thresholdNormal", "thresholdEmergency"):
        setattr(one, which, 5000)
    for index in (3, 4, 5):
        one.setDataType(index, 18)
    one.minOverThresholdDuration, one.minUnderThresholdDuration = 60, 30
    one.emergencyProfile.id, one.emergencyProfile.activationTime, one.emergencyProfile.duration = 1, at, 3600
    one.emergencyProfileGroupIDs = [1, 2]
    one.actionOverThreshold.logicalName = one.actionUnderThreshold.logicalName = NAMES[9]
    one.actionOverThreshold.scriptSelector, one.actionUnderThreshold.scriptSelector = 1, 2
    one = make(gx.GXDLMSMBusClient, 72)
    one.mBusPortReference, one.capturePeriod, one.identificationNumber = "0.0.24.6.0.255", 3600, 12345678
    one.primaryAddress, one.manufacturerID, one.dataHeaderVersion, one.deviceType = 1, 0x2C2D, 5, 3
    one.accessNumber, one.status, one.alarm = 9, 0, 0
    one = make(gx.GXDLMSAccount, 111)
    one.paymentMode, one.accountStatus = enums.PaymentMode.PREPAYMENT, enums.AccountStatus.ACTIVE
    one.availableCredit, one.aggregatedDebt = 1234, -5
    one.creditReferences, one.chargeReferences = [NAMES[112]], [NAMES[113]]
    one.accountActivationTime = one.accountClosureTime = at
    one.currency.name, one.currency.scale, one.currency.unit = "EUR", -2, enums.Currency.MONETARY
    one = make(gx.GXDLMSCredit, 112)
    one.currentCreditAmount, one.period = 1234, at
    one = make(gx.GXDLMSCharge, 113)
    one.totalAmountPaid, one.lastCollectionAmount = 100, 7
    one.unitChargeActivationTime = one.lastCollectionTime = at
    one = make(gx.GXDLMSTokenGateway, 115)
    one.token, one.time, one.descriptions = b"0123", at, [b"day"]
    one.deliveryMethod, one.statusCode, one.dataValue = (
        enums.TokenDelivery.REMOTE,
        enums.TokenStatusCode.FORMAT_OK,
        "0101",
    )
    return list(made.values())
